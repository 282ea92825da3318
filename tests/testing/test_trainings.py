from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from replicate_job.testing import Script, ScriptedAPI, ScriptedTraining

Ask = Callable[..., Any]
SDXL = "stability-ai/sdxl"


def path(api: ScriptedAPI) -> str:
    return f"/v1/models/{SDXL}/versions/{api.models[SDXL].version_ids[0]}/trainings"


def test_a_training_ends_and_shows_its_output(api: ScriptedAPI, ask: Ask) -> None:
    api.next(Script(duration=0))
    reply = ask(api, "POST", path(api), {"destination": "acme/fox", "input": {"steps": 1}})
    assert (reply.status, reply.json["model"], reply.json["input"]) == (201, SDXL, {"steps": 1})
    shown = ask(api, "GET", f"/v1/trainings/{reply.json['id']}").json
    assert (shown["status"], shown["output"]["version"][:9]) == ("succeeded", "acme/fox:")
    assert [each["id"] for each in ask(api, "GET", "/v1/trainings").json["results"]] == [shown["id"]]
    assert api.trainings[shown["id"]].destination == "acme/fox"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"input": {}}, "destination is required"),
        ({"destination": "fox", "input": {}}, "destination is required"),
        ({"destination": "acme/fox"}, "input is required"),
        ({"destination": "acme/fox", "input": {}, "version": "a"}, "Additional property version is not allowed"),
    ],
)
def test_an_invalid_training_request_is_refused(api: ScriptedAPI, ask: Ask, body: dict[str, Any], told: str) -> None:
    reply = ask(api, "POST", path(api), body)
    assert (reply.status, told in reply.json["detail"]) == (422, True)
    assert api.trainings == {}


def test_only_an_existing_version_can_be_trained(api: ScriptedAPI, ask: Ask) -> None:
    for wrong in (path(api).replace("/versions/", "/versions/0"), path(api).replace("sdxl", "nothing")):
        assert ask(api, "POST", wrong, {"destination": "acme/fox", "input": {}}).status == 404


def test_a_failed_training_shows_its_error(api: ScriptedAPI, ask: Ask) -> None:
    made = ScriptedTraining(model=SDXL, status="failed", error="out of memory", output={"version": "a/b:c"})
    api.trainings[made.id] = made
    shown = ask(api, "GET", f"/v1/trainings/{made.id}").json
    assert (shown["status"], shown["error"], shown["output"]) == ("failed", "out of memory", None)
    assert msgspec.json.encode(shown["urls"]["cancel"]).endswith(b'/cancel"')
