"""The unchanged official clients, which use the local server by their base URL."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec
import pytest

from replicate_job import verify_webhook
from replicate_job.errors import WebhookVerificationError

pytestmark = pytest.mark.timeout(900)  # the first run makes environments
WORDS = ["one ", "two\n", "three"]


def got(said: dict[str, Any], scenario: str) -> Any:
    assert scenario in said
    assert "raised" not in (said[scenario] or {}), said[scenario]["raised"]
    return said[scenario]


def test_run_returns_the_output_of_an_official_model_and_of_a_version(said: dict[str, Any]) -> None:
    seen = got(said, "run")
    assert (seen["official"], seen["version"], seen["older"]) == (["RIFF"], "hello all", "hello all")
    assert seen["words"] == WORDS


def test_a_community_model_cannot_be_run_by_its_name_alone(said: dict[str, Any]) -> None:
    assert got(said, "run")["community"] == 404


def test_a_client_creates_a_prediction_and_waits_for_its_end(said: dict[str, Any]) -> None:
    seen = got(said, "create_and_wait")
    assert seen["created"] in {"starting", "processing"}
    assert (seen["status"], seen["output"], seen["logs"]) == ("succeeded", WORDS, "speaking\n")


def test_a_create_request_with_a_blocking_wait_returns_the_output(said: dict[str, Any]) -> None:
    assert got(said, "blocking") == {"status": "succeeded", "output": WORDS}


def test_a_stream_yields_every_word_and_ends(said: dict[str, Any]) -> None:
    seen = got(said, "stream")
    assert seen["text"] == "".join(WORDS)
    if seen["events"] is not None:
        assert [data for kind, data in seen["events"] if kind == "output"] == WORDS
        assert "".join(data for kind, data in seen["events"] if kind == "logs") == "speaking\n"
        assert seen["events"][-1] == ["done", "{}"]


def test_a_prediction_is_canceled(said: dict[str, Any]) -> None:
    assert got(said, "cancel") == {"before": "processing", "after": "canceled"}


def test_the_list_is_paged_by_a_hundred_newest_first(said: dict[str, Any]) -> None:
    seen = got(said, "pages")
    listed = seen["listed"]
    assert seen["sizes"][:-1] == [100] * (len(seen["sizes"]) - 1)
    assert len(seen["sizes"]) > 1
    assert len(set(listed)) == len(listed) == sum(seen["sizes"])
    assert [each for each in listed if each in seen["made"]] == seen["made"][::-1]


def test_a_file_is_uploaded_found_and_deleted(said: dict[str, Any]) -> None:
    seen = got(said, "files")
    assert seen.pop("metadata") in ({"mine": 1}, None)
    assert seen == {
        "file": {"name": "note.txt", "type": "text/plain", "size": 5},
        "same": True,
        "checksums": {name: hashlib.new(name, b"note ").hexdigest() for name in ("sha256", "md5")},
        "listed": True,
        "deleted": True,
        "after": 404,
    }


def test_a_file_is_an_input_and_an_output(said: dict[str, Any]) -> None:
    assert got(said, "file_input") == {"uploaded": "NOTE NOTE ", "inline": "INLINEINLINE"}


def test_a_webhook_is_signed_with_the_secret_from_the_api(said: dict[str, Any]) -> None:
    seen = got(said, "webhook")
    headers, body, secret = seen["seen"]["headers"], seen["seen"]["body"], seen["secret"]
    assert (seen["valid"], seen["tampered"]) in {(True, False), (None, None)}  # one client cannot check it
    verify_webhook(headers, body, secret)
    with pytest.raises(WebhookVerificationError):
        verify_webhook(headers, body + " ", secret)
    prediction = msgspec.json.decode(body)
    assert (prediction["status"], prediction["output"]) == ("succeeded", WORDS)
    assert prediction["webhook"].startswith("http://127.0.0.1:")
    assert prediction["webhook_events_filter"] == ["completed"]
    assert prediction["urls"]["get"].startswith("http://127.0.0.1:")


def test_models_and_their_versions_are_listed_and_searched_and_read(said: dict[str, Any]) -> None:
    seen = got(said, "models")
    assert re.fullmatch("[0-9a-f]{64}", seen["version"])
    assert (seen["name"], seen["versions"], seen["missing"]) == ("me/notes", [seen["version"]], 404)
    assert seen["inputs"] == ["file", "style", "times"]
    assert {"me/words", "me/notes", "replicate/hello-world"} <= set(seen["listed"])
    assert "me/notes" in seen["found"]
    assert re.fullmatch("[0-9a-f]{64}", seen["official"])


def test_the_example_of_a_model_is_a_readable_prediction(said: dict[str, Any]) -> None:
    example = got(said, "models")["example"]
    assert example["status"] == "succeeded"
    assert example["output"]


def test_a_deployment_is_created_run_updated_and_deleted(said: dict[str, Any]) -> None:
    seen = got(said, "deployments")
    assert seen["name"] in seen.pop("listed")
    assert seen == {
        "name": seen["name"],
        "model": "me/words",
        "output": WORDS,
        "updated": 2,
        "deleted": True,
        "after": 404,
    }


def test_an_input_error_names_every_invalid_field(said: dict[str, Any]) -> None:
    seen = got(said, "input_error")
    assert (seen["status"], seen["title"]) == (422, "Input validation failed")
    lines = seen["detail"].splitlines()
    assert len(lines) == 3
    assert all(
        any(line.startswith(f"- {place}") for line in lines) for place in ("input: ", "input.times", "input.style")
    )
    if "invalid_fields" in seen:  # one client drops this field
        assert {each["field"] for each in seen["invalid_fields"]} == {"input", "input.times", "input.style"}


def test_a_failing_model_raises_an_error_with_its_message(said: dict[str, Any]) -> None:
    assert got(said, "failing") == {
        "message": "ValueError: nothing to say",
        "status": "failed",
        "logs": "speaking\n",
    }


def test_the_account_can_be_read_and_has_no_trainings(said: dict[str, Any]) -> None:
    seen = got(said, "account")
    assert seen["name"]
    assert "cpu" in seen["hardware"]
    assert (seen["trainings"], seen["training"]) == (0, 404)
