from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_job.api.client import Client
from replicate_job.api.transport import Transport
from replicate_job.errors import (
    APIError,
    AuthenticationError,
    InvalidRequestError,
    NoAnswerError,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    ReplicateJobError,
)
from replicate_job.serving.answer import InvalidField, invalid
from replicate_job.testing import Answer, Fault, Script, ScriptedAPI, Stream

PATH, BODY = "/models/acme/private/predictions", b'{"input":{"n":1}}'
AGES: dict[str, Any] = {
    "after": datetime.now(UTC) - timedelta(hours=1),
    "before": datetime.now(UTC) + timedelta(hours=1),
}


@pytest.fixture
async def client(api: ScriptedAPI) -> AsyncIterator[Client]:
    async with Transport(api.base_url, api.token, user_agent="replicate-job/0") as transport:
        yield Client(transport)


async def test_every_endpoint_has_a_method_that_works(api: ScriptedAPI, client: Client, tmp_path: Path) -> None:
    made = await client.create_prediction(PATH, BODY, await client.take_slot())
    assert (made.model, made.input) == ("acme/private", {"n": 1})
    assert (await client.get_prediction(made.id)).id == made.id
    assert (await client.cancel_prediction(made.id)).id == made.id
    assert [[one.id for one in page] async for page in client.list_predictions(**AGES)] == [[made.id]]
    model = await client.get_model("replicate", "hello-world")
    assert model.latest_version
    version = await client.get_version("replicate", "hello-world", model.latest_version.id)
    assert version.openapi_schema == model.latest_version.openapi_schema
    deployment = await client.get_deployment("acme", "flux")
    assert deployment.current_release
    assert deployment.current_release.model == "black-forest-labs/flux-schnell"
    assert (await client.get_account()).username == "acme"
    (tmp_path / "ä b.txt").write_bytes(b"hello")
    sent = await client.upload_file(tmp_path / "ä b.txt", name="ä b.txt", media_type="text/plain")
    assert sent.urls["get"].startswith(api.base_url)
    assert (api.uploads[0].name, api.uploads[0].content) == ("ä b.txt", b"hello")
    assert {request.headers["user-agent"] for request in api.requests} == {"replicate-job/0"}


async def test_the_blocking_wait_and_the_deadline_of_a_job_are_sent_as_headers(
    api: ScriptedAPI, client: Client
) -> None:
    api.next(Script(duration=0.2, output="x"))
    assert (
        await client.create_prediction(PATH, BODY, await client.take_slot(), blocking_wait=7, cancel_after="5m")
    ).status == "succeeded"
    headers = api.requests[0].headers
    assert (headers["prefer"], headers["cancel-after"]) == ("wait=7", "5m")
    assert headers["content-type"] == "application/json"


async def test_an_id_with_slashes_is_quoted_in_the_path(api: ScriptedAPI, client: Client) -> None:
    with pytest.raises(NotFoundError):
        await client.get_prediction("../account?x#y")
    assert api.requests[0].path == "/v1/predictions/../account?x#y"
    assert api.requests[0].operation != "other" or api.requests[0].path != "/v1/account"


@pytest.mark.parametrize("name", ["..", "."])
async def test_an_id_of_dots_is_refused(api: ScriptedAPI, client: Client, name: str) -> None:
    with pytest.raises(ReplicateJobError):
        await client.cancel_prediction(name)
    assert not any(request.path in {"/v1/cancel", "/v1/predictions/cancel"} for request in api.requests)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("401", AuthenticationError),
        ("402", PaymentRequiredError),
        ("403", AuthenticationError),
        ("404", NotFoundError),
        ("413", InvalidRequestError),
        ("422", InvalidRequestError),
        ("429(body=3)", RateLimitError),
        ("500", APIError),
        ("html", APIError),
        ("empty", APIError),
        ("redirect(https://example.com/)", APIError),
        ("nonsense", NoAnswerError),
        ("half", NoAnswerError),
        ("truncate", NoAnswerError),
        ("drop", NoAnswerError),
        ("close", NoAnswerError),
    ],
)
async def test_every_error_status_raises_its_own_error_class_with_a_one_line_message(
    api: ScriptedAPI, client: Client, fault: str, kind: type[ReplicateJobError]
) -> None:
    api.faults.next("create", fault)
    with pytest.raises(kind) as caught:
        await client.create_prediction(PATH, BODY, await client.take_slot())
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert api.token not in str(caught.value)


async def test_an_error_has_every_field_of_the_response_body(api: ScriptedAPI, client: Client) -> None:
    api.faults.next("create", Fault.answering(invalid(InvalidField("string_lte", "input.prompt", "too long"))))
    with pytest.raises(InvalidRequestError) as caught:
        await client.create_prediction(PATH, BODY, await client.take_slot())
    error = caught.value
    assert (error.status, error.title, error.detail) == (422, "Input validation failed", "- input.prompt: too long\n")
    assert error.invalid_fields == ({"type": "string_lte", "field": "input.prompt", "description": "too long"},)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"id":1,"status":"starting"}',
        b'{"id":"","status":"starting"}',
        b'{"id":"x","status":"starting","output":' + b"[" * 100_000,
        b"<html>200 OK</html>",
    ],
)
async def test_a_successful_response_without_a_prediction_in_its_body_raises_a_no_answer_error(
    api: ScriptedAPI, client: Client, body: bytes
) -> None:
    api.faults.next("create", Fault.answering(Answer(200, body)))
    with pytest.raises(NoAnswerError, match="a body that is not a prediction"):
        await client.create_prediction(PATH, BODY, await client.take_slot())


@pytest.mark.parametrize("rest", ['"status":null', '"status":"starting","input":[]', '"status":"starting","logs":[]'])
async def test_a_malformed_response_to_a_create_request_gives_a_prediction_if_it_has_an_id(
    api: ScriptedAPI, client: Client, rest: str
) -> None:
    api.faults.next("create", Fault.answering(Answer(201, f'{{"id":"x",{rest}}}'.encode())))
    prediction = await client.create_prediction(PATH, BODY, await client.take_slot())
    assert (prediction.id, prediction.status) == ("x", "starting")


async def test_a_list_is_requested_page_by_page_within_the_given_time_span(api: ScriptedAPI, client: Client) -> None:
    for _ in range(101):
        await client.create_prediction(PATH, BODY, await client.take_slot())
    pages = [page async for page in client.list_predictions(**AGES)]
    assert [len(page) for page in pages] == [100, 1]
    listed = [request for request in api.requests if request.operation == "list"]
    assert all("created_after=" in request.query and "created_before=" in request.query for request in listed)


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example.com/v1/predictions?cursor=x",
        "//evil.example.com/?cursor=x",
        "/v1/predictions?cursor=x",
        "?cursor=x",
        "http://[",
        "nowhere",
    ],
)
async def test_the_next_page_is_requested_from_the_base_url_or_the_list_fails(
    api: ScriptedAPI, client: Client, link: str
) -> None:
    """A list that ended early would mean that the prediction does not exist. No other host gets a request."""
    for following in (link, None):
        page = msgspec.json.encode({"results": [], "next": following})
        api.faults.next("list", Fault.answering(Answer(200, page)))
    try:
        pages = [page async for page in client.list_predictions(**AGES)]
    except NoAnswerError:
        return
    assert len(pages) == 2
    assert [request.query.rpartition("cursor=")[2] for request in api.requests][1:] == ["x"]


async def test_stream_events_come_as_they_are_sent_without_the_token(api: ScriptedAPI, client: Client) -> None:
    api.next(Script(duration=0.1, output=["a", "b"], stream=Stream()))
    made = await client.create_prediction(
        "/models/meta/llama-2-70b-chat/predictions", b'{"input":{"prompt":"x"}}', await client.take_slot()
    )
    url = made.url("stream")
    assert url
    events = [(event.type, event.data) async for event in client.stream_events(url)]
    assert events == [("output", "a"), ("output", "b"), ("done", "{}")]
    assert api.strayed_token() == []


async def test_a_refused_stream_raises_the_error_of_its_response(api: ScriptedAPI, client: Client) -> None:
    with pytest.raises(NotFoundError):
        await anext(client.stream_events(f"{api.files_url}/stream/nothing"))


async def test_the_token_is_in_no_repr_and_no_error(api: ScriptedAPI, client: Client) -> None:
    shown: list[Any] = [client, vars(client)]
    assert not any(api.token in repr(one) for one in shown)
