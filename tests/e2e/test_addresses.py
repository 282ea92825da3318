"""Addresses of pages and versions of official models that people paste. A schema that is partly malformed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from replicate_job import Client
from replicate_job.testing import Script, ScriptedModel, openapi_schema

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

HELLO = "replicate/hello-world"
FLUX = "black-forest-labs/flux-schnell"
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


@pytest.mark.parametrize(
    "named",
    [
        f"https://replicate.com/{HELLO}/api",
        f"https://replicate.com/{HELLO}?prediction=gm3qorzdhgbfurvjtvhg6dckhu",
        f"https://replicate.com/{HELLO}/versions/{VERSION}",
        f"https://api.replicate.com/v1/models/{HELLO}/predictions",
        f"{HELLO}:latest",
    ],
)
def test_a_model_is_run_by_the_address_of_any_of_its_pages(command: Command, named: str) -> None:
    outcome = command("run", named, "text=you")
    assert (outcome.code, outcome.response["output"]) == (0, "hello you"), outcome


def test_a_prediction_is_shown_waited_for_canceled_and_deleted_by_its_address(
    api: ScriptedAPI, command: Command
) -> None:
    assert command("run", HELLO, "text=you", "--no-wait").code == 0
    (prediction,) = api.predictions
    for words in (
        ("show", f"https://replicate.com/p/{prediction.id}"),
        ("wait", f"https://replicate.com/{HELLO}?prediction={prediction.id}"),
        ("cancel", prediction.urls["cancel"]),
    ):
        outcome = command(*words)
        assert (outcome.code, outcome.response["prediction_id"]) == (0, prediction.id), outcome
    assert command("delete", prediction.urls["get"]).err == "deleted 1 job\n"


def test_a_prediction_is_got_and_canceled_from_python_by_its_address(api: ScriptedAPI) -> None:
    api.next(Script(duration=math.inf))
    with Client() as client:
        client.submit(HELLO, {"text": "you"})
        api.wait_until(lambda: api.predictions)
        (prediction,) = api.predictions
        assert client.get(f"https://replicate.com/p/{prediction.id}").prediction_id == prediction.id
        client.cancel(prediction.urls["get"])
    assert prediction.status == "canceled"


def test_the_url_of_a_prediction_in_place_of_a_model_causes_an_error(api: ScriptedAPI, command: Command) -> None:
    outcome = command("run", "https://replicate.com/p/gm3qorzdhgbfurvjtvhg6dckhu", "text=you")
    assert outcome.code == 2
    assert "is the prediction gm3qorzdhgbfurvjtvhg6dckhu and names no model" in outcome.error
    assert api.requests == []


def test_the_error_of_a_refused_version_of_an_official_model_says_to_leave_it_out(
    api: ScriptedAPI, command: Command
) -> None:
    outcome = command("run", f"{FLUX}:{'0' * 64}", "prompt=a fox")
    assert outcome.code == 2
    assert "Invalid version or not permitted" in outcome.error
    assert outcome.error.endswith(f"leave the version out where the model is an official one: {FLUX}")
    assert api.predictions == []


def test_a_schema_that_is_partly_malformed_still_checks_the_other_inputs(api: ScriptedAPI, command: Command) -> None:
    """One definition that cannot be read, and one that no validator takes."""
    schema = openapi_schema({"n": {"type": "integer"}, "style": {}, "mode": {"type": "wat"}}, required=["n"])
    schema["components"]["schemas"]["Input"]["properties"]["style"] = "any"
    api.models["acme/odd"] = ScriptedModel(name="acme/odd", schema=schema)
    outcome = command("run", "acme/odd", "n=many", "style=x", "mode=y")
    assert outcome.code == 2
    assert "malformed in Input.style: not used there" in outcome.err
    assert outcome.err.splitlines()[-1].strip() == 'n: "many" is not an integer'
    assert api.predictions == []
    assert command("run", "acme/odd", "n=3", "style=x", "mode=y").code == 0
