from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import PyreqwestError

from replicate_job.serving.answer import InvalidField, invalid
from replicate_job.testing import Fault, Faults, OutputFile, Script, ScriptedAPI

Create = Callable[..., Any]
Ask = Callable[..., Any]


@pytest.mark.parametrize("scheme", ["Bearer", "Token"])
def test_the_token_is_accepted_with_the_schemes_bearer_and_token(api: ScriptedAPI, ask: Ask, scheme: str) -> None:
    assert ask(api, "GET", "/v1/account", Authorization=f"{scheme} {api.token}").json["username"] == "acme"


@pytest.mark.parametrize("given", ["", "Bearer r8_wrong", "Basic r8_wrong"])
def test_without_the_token_everything_is_401(api: ScriptedAPI, ask: Ask, given: str) -> None:
    reply = ask(api, "POST", "/v1/predictions", {}, Authorization=given)
    assert (reply.status, reply.json["title"]) == (401, "Unauthenticated")


def test_every_request_is_recorded_together_with_its_fault(api: ScriptedAPI, create: Create, ask: Ask) -> None:
    api.faults.next("list", "503")
    create(api, {"n": 1})
    before = time.time()
    ask(api, "GET", "/v1/predictions?source=web", X_Trace="7")
    made, listed = api.requests
    assert (made.method, made.path, made.operation, made.body) == (
        "POST",
        "/v1/models/acme/private/predictions",
        "create",
        b'{"input":{"n":1}}',
    )
    assert (listed.query, listed.headers["x-trace"], listed.fault, listed.origin) == ("source=web", "7", "503", "api")
    assert before <= listed.time <= time.time()
    assert made.client != listed.client
    assert (api.count("create"), api.count("list"), api.count("get")) == (1, 1, 0)
    assert api.predictions[0].request == made


def test_a_token_sent_to_the_delivery_host_is_reported(replicate_api: ScriptedAPI, create: Create, ask: Ask) -> None:
    api = replicate_api
    api.next(Script(duration=0, output=OutputFile(content=b"x", name="a.txt")))
    url = create(api)["output"]
    assert url.startswith(f"{api.files_url}/")
    assert ask(api, "GET", url).body == b"x"
    assert api.strayed_token() == []
    ask(api, "GET", url, Authorization=f"Bearer {api.token}")
    ask(api, "GET", f"{url}?token={api.token}")
    assert [request.path for request in api.strayed_token()] == [url.removeprefix(api.files_url)] * 2


def test_the_method_wait_until_raises_a_timeout_error(api: ScriptedAPI) -> None:
    with pytest.raises(TimeoutError, match="0 requests"):
        api.wait_until(lambda: api.predictions, seconds=0.01)


def test_any_response_can_be_scripted_for_the_next_request(api: ScriptedAPI, create: Create) -> None:
    api.faults.next("create", Fault.answering(invalid(InvalidField("string_lte", "input.prompt", "too long"))))
    assert create(api, status=422)["invalid_fields"][0]["field"] == "input.prompt"


def test_unknown_paths_get_the_same_404_as_at_the_real_api(api: ScriptedAPI, ask: Ask) -> None:
    for path in ("/v1/nothing", "/v1/predictions/nothing", "/"):
        assert ask(api, "GET", path).json == {"detail": "The requested resource could not be found.", "status": 404}


def test_a_rate_in_the_fault_language_limits_requests(create: Create) -> None:
    with ScriptedAPI(faults="rate=6/min,burst=1") as api:
        create(api)
        body = create(api, status=429)
        assert body["retry_after"] >= 10
        assert body["detail"] == f"Request was throttled. Your rate limit resets in ~{body['retry_after']}s."
        assert len(api.predictions) == 1


def test_the_rate_limit_can_be_changed_while_the_server_runs(create: Create) -> None:
    with ScriptedAPI() as api:
        create(api)
        api.faults.limit(rate=0.1, burst=1)
        create(api)
        create(api, status=429)
        create(api, status=429)
        api.faults.limit(rate=10, burst=2)
        create(api)
        api.faults.limit()
        create(api)
        assert [request.fault for request in api.requests] == ["", "", "rate", "rate", "", ""]
        assert api.faults.throttled == 2


@pytest.mark.parametrize("remember", [0, 10])
def test_with_the_option_remember_old_requests_are_forgotten_and_still_counted(ask: Ask, remember: int) -> None:
    with ScriptedAPI(remember=remember) as api:
        for number in range(50):
            ask(api, "GET", f"/v1/predictions/{number}")
        ask(api, "GET", "/v1/predictions")
        kept = [request.path for request in api.requests]
        assert remember <= len(kept) <= 2 * remember
        asked = [*(f"/v1/predictions/{number}" for number in range(50)), "/v1/predictions"]
        assert kept == asked[len(asked) - len(kept) :]
        assert (api.count("get"), api.count("list"), api.count("create")) == (50, 1, 0)


async def test_a_create_request_creates_nothing_only_if_its_fault_occurs_before_it_is_carried_out() -> None:
    faults = "create:drop-after=0.2,create:drop-before=0.1,create:500-after=0.1,create:500-before=0.05"
    with ScriptedAPI(faults=Faults.parse(faults, seed=3)) as api:
        async with ClientBuilder().max_connections(64).build() as client:

            async def create(number: int) -> str:
                request = client.post(f"{api.base_url}/v1/models/acme/private/predictions").bearer_auth(api.token)
                try:
                    return str((await request.body_json({"input": {"n": number}}).build().send()).status)
                except PyreqwestError:
                    return "dropped"

            seen = Counter(await asyncio.gather(*map(create, range(1000))))
        struck = Counter(request.fault for request in api.requests if request.operation == "create")
        assert seen["dropped"] == struck["drop-after"] + struck["drop-before"]
        assert seen["500"] == struck["500-after"] + struck["500-before"]
        assert seen["201"] == struck[""]
        assert len(api.predictions) == struck[""] + struck["drop-after"] + struck["500-after"]
        assert 150 < struck["drop-after"] < 250
        arrived = {request.body for request in api.requests}
        assert {prediction.request.body for prediction in api.predictions} <= arrived


def test_the_example_in_the_package_docstring_works(create: Create) -> None:
    with ScriptedAPI(script=Script(duration=0.2, output="hello"), faults="create:drop-after=0.2") as api:
        api.faults.next("get", "503", "drop-before")
        api.next(Script(end="failed"))
        api.faults.next("create", None)
        create(api)
        assert len(api.predictions) == 1
