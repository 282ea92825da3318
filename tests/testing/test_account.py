from __future__ import annotations

import gc
import math
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedDeployment, ScriptedModel, Stream

Create = Callable[..., Any]
Ask = Callable[..., Any]
HELLO = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


@pytest.mark.parametrize(
    ("path", "version", "model", "shown"),
    [
        ("/v1/models/acme/private/predictions", None, "acme/private", "hidden"),
        ("/v1/predictions", "acme/private", "acme/private", "hidden"),
        ("/v1/predictions", HELLO, "replicate/hello-world", HELLO),
        ("/v1/predictions", f"replicate/hello-world:{HELLO}", "replicate/hello-world", HELLO),
        ("/v1/deployments/acme/writer/predictions", None, "replicate/hello-world", HELLO),
    ],
)
def test_a_prediction_can_be_created_with_each_kind_of_path_and_version(
    ask: Ask, path: str, version: str | None, model: str, shown: str
) -> None:
    with ScriptedAPI(deployments=[ScriptedDeployment(name="acme/writer", model="replicate/hello-world")]) as api:
        body = {"input": {"text": "x"}} | ({"version": version} if version else {})
        reply = ask(api, "POST", path, body)
        assert (reply.status, reply.json["model"], reply.json["version"]) == (201, model, shown)
        assert reply.json.get("deployment") == ("acme/writer" if "deployments" in path else None)
        assert ask(api, "GET", reply.json["urls"]["get"]).json["id"] == reply.json["id"] == api.predictions[0].id


@pytest.mark.parametrize(
    ("path", "version", "status"),
    [
        ("/v1/models/replicate/hello-world/predictions", None, 404),
        ("/v1/predictions", "replicate/hello-world", 404),
        ("/v1/models/acme/nothing/predictions", None, 404),
        ("/v1/deployments/acme/nothing/predictions", None, 404),
        ("/v1/predictions", "0" * 64, 422),
        ("/v1/predictions", f"acme/private:{HELLO}", 422),
        ("/v1/predictions", "hello", 422),
        ("/v1/predictions", None, 422),
    ],
)
def test_an_invalid_path_or_version_creates_nothing(
    api: ScriptedAPI, ask: Ask, path: str, version: str | None, status: int
) -> None:
    reply = ask(api, "POST", path, {"input": {"text": "x"}} | ({"version": version} if version else {}))
    assert (reply.status, reply.json["status"]) == (status, status)
    assert api.predictions == []


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b'{"input": ', 400, "JSON"),
        (b"[]", 400, "JSON"),
        (b'{"input":' + b"[" * 9999 + b"]" * 9999 + b"}", 400, "JSON"),
        (b"{}", 422, "input is required"),
        (b'{"input": [1]}', 422, "Expected: object"),
        (b'{"input": {}, "model": "x"}', 422, "Additional property model is not allowed"),
    ],
)
def test_an_invalid_create_request_body_is_refused(
    api: ScriptedAPI, ask: Ask, body: bytes, status: int, told: str
) -> None:
    reply = ask(api, "POST", "/v1/models/acme/private/predictions", body)
    assert reply.status == status
    assert told in reply.json["detail"]
    assert api.predictions == []


def test_all_invalid_inputs_are_named_and_unknown_inputs_pass(api: ScriptedAPI, create: Create) -> None:
    given = {"aspect_ratio": "5:1", "output_quality": 101, "num_outputs": 0, "seed": True, "colour": "red"}
    body = create(api, given, model="black-forest-labs/flux-schnell", status=422)
    assert [(field["type"], field["field"]) for field in body["invalid_fields"]] == [
        ("required", "input"),
        ("enum", "input.aspect_ratio"),
        ("number_gte", "input.num_outputs"),
        ("number_lte", "input.output_quality"),
        ("invalid_type", "input.seed"),
    ]
    assert body["detail"].startswith("- input: prompt is required\n")
    create(api, {"prompt": "x", "colour": "red", "seed": 7}, model="black-forest-labs/flux-schnell")


def test_the_list_is_newest_first_in_pages_of_100_with_complete_urls(
    api: ScriptedAPI, create: Create, ask: Ask
) -> None:
    made = [create(api)["id"] for _ in range(205)]
    url, pages = f"{api.base_url}/v1/predictions", []
    while url:
        page = ask(api, "GET", url).json
        pages.append([item["id"] for item in page["results"]])
        url = page["next"]
    assert [len(page) for page in pages] == [100, 100, 5]
    assert [item for page in pages for item in page] == made[::-1]


def test_pages_stay_the_same_while_predictions_are_added(api: ScriptedAPI, create: Create, ask: Ask) -> None:
    made = [create(api)["id"] for _ in range(150)]
    first = ask(api, "GET", "/v1/predictions").json
    create(api)
    second = ask(api, "GET", first["next"]).json
    assert [item["id"] for item in first["results"] + second["results"]] == made[::-1]


def test_the_list_is_filtered_by_created_after_and_created_before(api: ScriptedAPI, create: Create, ask: Ask) -> None:
    one, two, three = (create(api) for _ in range(3))

    def listed(**query: str) -> list[str]:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        return [item["id"] for item in ask(api, "GET", f"/v1/predictions?{asked}").json["results"]]

    assert listed(created_after=two["created_at"]) == [three["id"], two["id"]]
    assert listed(created_before=two["created_at"]) == [one["id"]]
    assert listed(created_after=two["created_at"], created_before=three["created_at"]) == [two["id"]]
    assert listed(created_after=datetime.now(UTC).isoformat().replace("+00:00", "Z")) == []
    assert listed(source="web") == []
    assert ask(api, "GET", "/v1/predictions?created_after=yesterday").status == 400


def test_filters_stay_in_the_url_of_the_next_page(api: ScriptedAPI, create: Create, ask: Ask) -> None:
    made = [create(api) for _ in range(110)]
    page = ask(api, "GET", f"/v1/predictions?created_after={made[5]['created_at']}").json
    rest = ask(api, "GET", page["next"]).json
    assert [item["id"] for item in rest["results"]] == [item["id"] for item in made[5:10][::-1]]
    assert rest["next"] is None


def test_with_the_option_list_lag_a_prediction_is_listed_later_than_it_can_be_read(create: Create, ask: Ask) -> None:
    with ScriptedAPI(list_lag=3600) as api:
        made = create(api)
        assert ask(api, "GET", "/v1/predictions").json["results"] == []
        assert ask(api, "GET", made["urls"]["get"]).status == 200
        api.predictions[0].listed = time.time()
        assert [item["id"] for item in ask(api, "GET", "/v1/predictions").json["results"]] == [made["id"]]


def test_a_list_lag_with_two_bounds_is_drawn_for_each_prediction(create: Create) -> None:
    with ScriptedAPI(list_lag=(0.5, 2.0)) as api:
        for _ in range(20):
            create(api)
        lags = [prediction.listed - prediction.created for prediction in api.predictions]
    assert len(set(lags)) > 10
    assert all(0.5 <= lag <= 2.0 for lag in lags)


def test_with_the_option_missing_for_a_get_of_a_new_prediction_gets_a_404_at_first(create: Create, ask: Ask) -> None:
    with ScriptedAPI(missing_for=3600) as api:
        made = create(api)
        assert ask(api, "GET", made["urls"]["get"]).status == 404
        api.predictions[0].visible = time.time()
        assert ask(api, "GET", made["urls"]["get"]).status == 200


def test_with_the_option_remember_only_old_predictions_that_have_ended_are_forgotten(create: Create, ask: Ask) -> None:
    with ScriptedAPI(script=Script(duration=0), remember=5) as api:
        api.next(Script(duration=math.inf))
        running, *made = [create(api)["id"] for _ in range(31)]
        kept = {one for one in (running, *made) if ask(api, "GET", f"/v1/predictions/{one}").status == 200}
        assert kept >= {running, *made[-5:]}
        assert len(kept) <= 12
        listed = [item["id"] for item in ask(api, "GET", "/v1/predictions").json["results"]]
        assert listed == [one for one in [running, *made][::-1] if one in kept]
        assert (api.created, api.count("create"), len(api.predictions)) == (31, 31, len(kept))


def test_pages_stay_the_same_while_older_predictions_are_forgotten(create: Create, ask: Ask) -> None:
    with ScriptedAPI(script=Script(duration=0), remember=200) as api:
        made = [create(api)["id"] for _ in range(350)]
        first = ask(api, "GET", "/v1/predictions").json
        made += [create(api)["id"] for _ in range(51)]
        assert [prediction.id for prediction in api.predictions] == made[-200:]
        second = ask(api, "GET", first["next"]).json
        assert [item["id"] for item in first["results"] + second["results"]] == made[201:350][::-1]
        assert second["next"] is None


def test_a_forgotten_prediction_and_its_files_are_freed_from_memory(create: Create, ask: Ask) -> None:
    with ScriptedAPI(script=Script(duration=0, output=OutputFile(content=b"x"), stream=Stream()), remember=0) as api:
        api.next(Script(duration=0.3, output=OutputFile(content=b"x"), stream=Stream()))
        made = create(api)
        first = weakref.ref(api.predictions[0])
        api.wait_until(lambda: api.predictions[0].status == "succeeded")
        file = ask(api, "GET", made["urls"]["get"]).json["output"]
        assert (ask(api, "GET", file).status, ask(api, "GET", made["urls"]["stream"]).status) == (200, 200)
        create(api)
        create(api)
        assert ask(api, "GET", file).status == 404
        assert ask(api, "GET", made["urls"]["stream"]).status == 404
        gc.collect()
        assert first() is None


def test_a_queued_script_comes_before_the_models_script_and_the_servers_script_replaces_it(create: Create) -> None:
    model = ScriptedModel(name="acme/own", official=True, script=lambda given: Script(duration=0, output=given["n"]))
    with ScriptedAPI(model) as api:
        api.next(Script(duration=0, output="first"))
        outputs = [create(api, {"n": 5}, model="acme/own")["output"] for _ in range(2)]
    with ScriptedAPI(model, script=Script(duration=0, output="server")) as api:
        outputs.append(create(api, {"n": 5}, model="acme/own")["output"])
    assert outputs == ["first", 5, "server"]
