"""Headers and media types of responses, as in recorded responses of Replicate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from replicate_job.serving.faults import Faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

ALL = "/v1/predictions"
FILES = """
    from cog import BasePredictor, Path

    class Predictor(BasePredictor):
        def predict(self, text: str = "a") -> Path:
            Path("a.txt").write_text(text)
            return Path("a.txt")
"""
CORS = "access-control-allow-origin"


@pytest.fixture
async def api(local: Any) -> AsyncIterator[Any]:
    async with local() as api:
        yield api


async def create(api: Any, **headers: str) -> Any:
    body = {"version": await api.version("replicate/hello-world"), "input": {"text": "you"}}
    return await api.request("POST", ALL, body, **headers)


def allowance(answer: Any) -> tuple[str | None, str | None]:
    return answer.headers.get("ratelimit-remaining"), answer.headers.get("ratelimit-reset")


@pytest.mark.parametrize(("asked", "applied"), [("wait=10", "wait=10"), ("wait", "wait=60"), ("wait=900", "wait=60")])
async def test_a_blocking_wait_is_confirmed_in_the_preference_applied_header(
    api: Any, asked: str, applied: str
) -> None:
    assert (await create(api, prefer=asked)).headers["preference-applied"] == applied


@pytest.mark.parametrize("asked", [{}, {"prefer": "respond-async"}])
async def test_without_a_blocking_wait_there_is_no_preference_applied_header(api: Any, asked: dict[str, str]) -> None:
    assert "preference-applied" not in (await create(api, **asked)).headers


async def test_responses_of_the_api_have_rate_limit_headers(api: Any) -> None:
    made = await create(api)
    assert allowance(made) == ("599", "1")
    for path in ("/v1/account", ALL, f"{ALL}/none", "/v1/models/a/b", (await made.json())["urls"]["get"]):
        assert allowance(await api.request("GET", path)) == ("2999", "1")
    for path in ("/", (await made.json())["urls"]["stream"]):
        assert allowance(await api.request("GET", path)) == (None, None)


async def test_the_rate_limit_headers_count_down_with_a_configured_limit(local: Any) -> None:
    async with local(faults=Faults.parse("rate=1/min,burst=2")) as api:
        found = [await create(api) for _ in range(3)]
        assert [(answer.status, allowance(answer)[0]) for answer in found] == [(201, "1"), (201, "0"), (429, "0")]
        assert 60 < int(allowance(found[1])[1] or 0) <= 120
        assert allowance(await api.request("GET", "/v1/account")) == ("2999", "1")


async def test_error_responses_have_the_media_type_application_problem_json(api: Any, local: Any) -> None:
    for path in ("/v1/models/a/b", f"{ALL}/none", "/v1/nothing", "/outputs/a/b", "/v1/trainings/a"):
        answer = await api.request("GET", path)
        assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    async with local(token="sesame") as secured:  # noqa: S106 - opens nothing
        answer = await secured.request("GET", "/v1/account")
        assert (answer.status, answer.headers["content-type"]) == (401, "application/problem+json")


async def test_pages_of_other_origins_can_read_only_output_files_and_streams(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(FILES)
    async with local() as api:
        prediction = await api.run(text="kept")
        output, stream = prediction["output"], prediction["urls"]["stream"]
        for url, more in ((output, {}), (output, {"range": "bytes=1-2"}), (stream, {})):
            answer = await api.request("GET", url, origin="https://example.com", sec_fetch_site="cross-site", **more)
            assert answer.status in {200, 206}
            assert answer.headers[CORS] == "*"
        known = await api.request("GET", output, if_none_match=(await api.request("GET", output)).headers["etag"])
        assert (known.status, known.headers[CORS]) == (304, "*")
        for path in ("/", ALL, prediction["urls"]["get"], "/v1/account", "/v1/models", "/v1/files", "/outputs/a/b"):
            assert CORS not in (await api.request("GET", path)).headers
        assert (await api.request("GET", ALL, sec_fetch_site="cross-site")).status == 403


async def test_a_prediction_shows_its_webhook_and_events_filter(api: Any) -> None:
    version = await api.version("replicate/hello-world")
    for asked in (
        {"webhook": "http://127.0.0.1:1/hook", "webhook_events_filter": ["completed", "start"]},
        {"webhook": "http://127.0.0.1:1/hook"},
        {},
    ):
        made = await (await api.request("POST", ALL, {"version": version, "input": {"text": "you"}, **asked})).json()
        for body in (made, await api.get(made["urls"]["get"])):
            assert {name: body[name] for name in ("webhook", "webhook_events_filter") if name in body} == asked


async def test_invalid_fields_of_deployments_and_predictions_have_the_same_types(api: Any) -> None:
    body = {"hardware": "abacus", "min_instances": -1, "max_instances": "1", "extra": 1}
    answer = await api.request("POST", "/v1/deployments", body)
    found = [(one["type"], one["field"], one["description"]) for one in (await answer.json())["invalid_fields"]]
    assert answer.status == 422
    assert [(kind, field) for kind, field, _ in found] == [
        ("required", ""),
        ("required", ""),
        ("required", ""),
        ("additional_property_not_allowed", ""),
        ("enum", "hardware"),
        ("invalid_type", "max_instances"),
        ("number_gte", "min_instances"),
    ]
    assert {text for kind, _, text in found if kind == "required"} == {
        f"{name} is required" for name in ("name", "model", "version")
    }
