"""Details of creating, reading and canceling predictions. ``tests/local/test_app.py`` has the main cases."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from pyreqwest.exceptions import PyreqwestError

from replicate_job.serving.page import PAGE
from replicate_job.wire.prediction import parse_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

HELLO = "replicate/hello-world"
FLUX = "black-forest-labs/flux-schnell"
SLOW = """
    import time
    from cog import BasePredictor

    class Predictor(BasePredictor):
        def predict(self, seconds: float = 60) -> str:
            print("begun", flush=True)
            time.sleep(seconds)
            return "late"
"""
ALL = "/v1/predictions"


@pytest.fixture
async def api(local: Any) -> AsyncIterator[Any]:
    async with local() as api:
        yield api


async def post(api: Any, version: str, given: Any = None, path: str = ALL, /, **facts: Any) -> Any:
    headers = {name: facts.pop(name) for name in ("prefer", "cancel_after") if name in facts}
    body = {"version": version, "input": {"text": "a"} if given is None else given} | facts
    return await api.request("POST", path, body, **headers)


async def test_the_response_to_a_create_request_has_a_location(api: Any) -> None:
    answer = await post(api, await api.version(HELLO))
    made = await answer.json()
    assert answer.headers["location"] == made["urls"]["get"] == f"{api.base_url}{ALL}/{made['id']}"
    assert made["urls"] == {
        "get": f"{api.base_url}{ALL}/{made['id']}",
        "cancel": f"{api.base_url}{ALL}/{made['id']}/cancel",
        "web": f"{api.base_url}/p/{made['id']}",
        "stream": f"{api.base_url}/stream/{made['id']}",
    }


async def test_urls_in_a_response_have_the_host_that_the_client_uses(api: Any) -> None:
    port = api.base_url.rpartition(":")[2]
    answer = await api.request(
        "POST", ALL, {"version": await api.version(HELLO), "input": {"text": "a"}}, host=f"localhost:{port}"
    )
    made = await answer.json()
    assert made["urls"]["get"].startswith(f"http://localhost:{port}/")
    assert answer.headers["location"].startswith(f"http://localhost:{port}/")


@pytest.mark.parametrize(
    ("prefer", "status"),
    [
        ("wait=1", 202),
        ("wait=0", 202),
        ("respond-async, wait=1", 202),
        ("wait=1;x", 201),
        ("Wait=1", 201),
        ("wait=-1", 201),
        ("wait=1.5", 201),
        ("wait=", 201),
        ("respond-async", 201),
    ],
)
async def test_a_create_request_blocks_only_for_a_prefer_header_that_waits_whole_seconds(
    write_model: Callable[..., Path], local: Any, prefer: str, status: int
) -> None:
    write_model(SLOW)
    async with local() as api:
        answer = await post(api, await api.version(), {}, prefer=prefer)
        assert answer.status == status
        assert (await answer.json())["status"] in {"starting", "processing"}


async def test_an_official_model_runs_by_path_or_by_version_field_and_hides_its_version(api: Any) -> None:
    given = {"prompt": "a", "go_fast": True}
    named = await post(api, FLUX, given)
    own = await api.request("POST", f"/v1/models/{FLUX}/predictions", {"input": given})
    for answer in (named, own):
        made = await answer.json()
        assert (answer.status, made["version"], made["model"]) == (201, "hidden", FLUX)
        await api.request("POST", made["urls"]["cancel"])


async def test_an_official_model_run_by_its_version_hides_the_version(api: Any) -> None:
    version, given = await api.version(FLUX), {"prompt": "a", "go_fast": True}
    facts = {"name": "own", "model": FLUX, "version": version, "hardware": "cpu"}
    await api.request("POST", "/v1/deployments", facts | {"min_instances": 0, "max_instances": 1})
    by_id = await post(api, version, given)
    named = await post(api, f"{FLUX}:{version}", given)
    deployed = await api.request("POST", "/v1/deployments/local/own/predictions", {"input": given})
    for answer in (by_id, named, deployed):
        made = await answer.json()
        assert (answer.status, made["version"], made["model"]) == (201, "hidden", FLUX)
        await api.request("POST", made["urls"]["cancel"])


async def test_a_422_names_every_fault_of_the_body(api: Any) -> None:
    answer = await api.request("POST", ALL, {"webhook": "nowhere", "extra": 1})
    assert answer.status == 422
    assert (await answer.json())["detail"].splitlines() == [
        "- version is required",
        "- input is required",
        "- Additional property extra is not allowed",
        "- webhook: Does not match format 'uri'",
    ]


async def test_a_version_that_belongs_to_another_model_than_the_named_one_is_refused(api: Any) -> None:
    answer = await post(api, f"{FLUX}:{await api.version(HELLO)}")
    assert (answer.status, (await answer.json())["title"]) == (422, "Invalid version or not permitted")


@pytest.mark.parametrize("given", ["text", [], 4, True])
async def test_an_input_that_is_no_object_is_refused(api: Any, given: Any) -> None:
    answer = await post(api, await api.version(HELLO), given)
    assert answer.status == 422
    assert (await answer.json())["invalid_fields"][0]["field"] == "input"


async def test_a_create_request_without_an_input_is_refused(api: Any) -> None:
    for path, body in ((ALL, {"version": await api.version(HELLO)}), (f"/v1/models/{FLUX}/predictions", {})):
        answer = await api.request("POST", path, body)
        assert answer.status == 422
        field = {"type": "required", "field": "", "description": "input is required"}
        assert (await answer.json())["invalid_fields"] == [field]


async def test_a_create_request_by_model_name_must_not_have_a_version(api: Any) -> None:
    body = {"version": "0" * 64, "input": {"prompt": "a"}}
    answer = await api.request("POST", f"/v1/models/{FLUX}/predictions", body)
    assert (answer.status, (await answer.json())["detail"]) == (422, "- Additional property version is not allowed\n")


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"webhook": "nowhere"}, "webhook"),
        ({"webhook": "ftp://a/b"}, "webhook"),
        ({"webhook": "http://"}, "webhook"),
        ({"webhook": "http://[::"}, "webhook"),
        ({"webhook": "http://a:99999"}, "webhook"),
        ({"webhook": "http://a b/"}, "webhook"),
        ({"webhook": 4}, "webhook"),
        ({"webhook_events_filter": "completed"}, "webhook_events_filter"),
        ({"webhook_events_filter": ["end"]}, "webhook_events_filter"),
        ({"webhook_events_filter": [[]]}, "webhook_events_filter"),
        ({"webhook_events_filter": [{}]}, "webhook_events_filter"),
    ],
)
async def test_a_webhook_that_cannot_be_sent_is_refused_and_nothing_is_created(
    api: Any, facts: dict[str, Any], field: str
) -> None:
    answer = await post(api, await api.version(HELLO), **facts)
    assert (answer.status, (await answer.json())["invalid_fields"][0]["field"]) == (422, field)
    assert (await api.get(ALL))["results"] == []


@pytest.mark.parametrize("facts", [{"webhook": None}, {"webhook_events_filter": None}])
async def test_the_webhook_fields_of_a_create_request_may_be_null(api: Any, facts: dict[str, Any]) -> None:
    assert (await post(api, await api.version(HELLO), **facts)).status == 201


async def test_a_deadline_that_passes_before_the_start_aborts_the_prediction(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(SLOW)
    async with local() as api:
        first = await (await post(api, await api.version(), {})).json()
        await api.until(first, lambda found: found["status"] == "processing")
        queued = await (await post(api, await api.version(), {}, cancel_after="5s", prefer="wait")).json()
        assert (queued["status"], queued.get("started_at"), queued["error"]) == ("aborted", None, None)
        created, deadline = parse_time(queued["created_at"]), parse_time(queued["deadline"])
        assert created
        assert deadline
        assert (deadline - created).total_seconds() == pytest.approx(5)
        assert queued["completed_at"] >= queued["deadline"]
        assert (await api.get(first["urls"]["get"]))["status"] == "processing"


async def test_concurrent_cancel_requests_agree_on_one_final_state(api: Any) -> None:
    version = await api.version(HELLO)
    made = [await (await post(api, version)).json() for _ in range(20)]
    cancels = [api.request("POST", one["urls"]["cancel"]) for one in made for _ in range(3)]
    answers = [await answer.json() for answer in await asyncio.gather(*cancels)]
    assert {answer["status"] for answer in answers} <= {"canceled", "succeeded"}
    for one in made:
        seen = [answer for answer in answers if answer["id"] == one["id"]]
        assert seen == [await api.get(one["urls"]["get"])] * 3


async def test_canceling_an_ended_prediction_changes_nothing_and_an_unknown_one_is_a_404(api: Any) -> None:
    done = await (await post(api, await api.version(HELLO), prefer="wait")).json()
    assert done["status"] == "succeeded"
    assert await (await api.request("POST", done["urls"]["cancel"])).json() == done
    assert (await api.request("POST", f"{ALL}/none/cancel")).status == 404


async def test_an_ended_prediction_can_be_deleted_with_its_files_and_a_running_one_cannot(
    write_model: Callable[..., Path], local: Any, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    write_model("""
        import os, time
        from cog import BasePredictor, Path

        class Predictor(BasePredictor):
            def predict(self, gate: str = "") -> Path:
                while gate and not os.path.exists(gate):
                    time.sleep(0.01)
                Path("a.txt").write_text("hello")
                return Path("a.txt")
    """)
    async with local(state=tmp_path / "state") as api:
        done, kept = await api.run(), await api.run()
        running = await api.create({"gate": str(gate)})
        refused = await api.request("DELETE", running["urls"]["get"])
        assert (refused.status, (await refused.json())["detail"]) == (
            409, "The prediction has not ended yet: cancel it first")  # fmt: skip
        assert (await api.request("DELETE", done["urls"]["get"])).status == 204
        assert (await api.request("DELETE", done["urls"]["get"])).status == 404
        for gone in (done["urls"]["get"], done["urls"]["stream"], done["output"]):
            assert (await api.request("GET", gone)).status == 404
        assert [each["id"] for each in (await api.get(ALL))["results"]] == [running["id"], kept["id"]]
        assert (await api.request("GET", kept["output"])).status == 200
        gate.touch()
        await api.until(running, lambda found: found["status"] == "succeeded")
        assert (await api.request("DELETE", running["urls"]["get"])).status == 204
    async with local(state=tmp_path / "state") as api:
        assert [each["id"] for each in (await api.get(ALL))["results"]] == [kept["id"]]
        assert len(list((tmp_path / "state").rglob("a.txt")) + list((tmp_path / "state").rglob("facts.json"))) == 1


async def test_a_client_that_disconnects_during_the_blocking_wait_leaves_its_prediction_running(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(SLOW)
    async with local() as api:
        version = await api.version()
        held = asyncio.create_task(post(api, version, {}, prefer="wait"))
        while not (found := (await api.get(ALL))["results"]):
            pass
        held.cancel()
        with suppress(asyncio.CancelledError, PyreqwestError):
            await held
        (one,) = found
        running = await api.until(one, lambda found: "begun" in found["logs"])
        assert running["status"] == "processing"


async def test_the_pages_of_the_list_link_both_ways_and_keep_the_time_filters(api: Any) -> None:
    version = await api.version(HELLO)
    answers = await asyncio.gather(*(post(api, version) for _ in range(PAGE + 4)))
    made = sorted([await answer.json() for answer in answers], key=lambda one: one["created_at"], reverse=True)
    first = await api.get(ALL)
    second = await api.get(first["next"])
    assert [one["id"] for one in first["results"] + second["results"]] == [one["id"] for one in made]
    assert (first["previous"], second["next"]) == (None, None)
    back = await api.get(second["previous"])
    assert [one["id"] for one in back["results"]] == [one["id"] for one in first["results"]]

    since, until = quote(made[102]["created_at"]), quote(made[0]["created_at"])
    first = await api.get(f"{ALL}?created_after={since}&created_before={until}")
    second = await api.get(first["next"])
    assert [one["id"] for one in first["results"] + second["results"]] == [one["id"] for one in made[1:103]]
    assert second["next"] is None


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "cursor=%00",
        "cursor=%C3%A9",
        "cursor=" + "A" * 5000,
        "created_after=x",
        "created_before=2024",
        "created_after=99999-01-01T00:00:00Z",
        "source=api",
        "source=WEB",
    ],
)
async def test_an_invalid_list_query_is_refused(api: Any, query: str) -> None:
    answer = await api.request("GET", f"{ALL}?{query}")
    assert (answer.status, (await answer.json())["title"]) == (400, "Bad request")


async def test_the_list_of_predictions_with_the_source_web_is_empty(api: Any) -> None:
    await post(api, await api.version(HELLO))
    assert await api.get(f"{ALL}?source=web") == {"previous": None, "next": None, "results": []}
    assert (await api.get(f"{ALL}?created_after=1970-01-01T00:00:00Z"))["results"] != []
    assert (await api.get(f"{ALL}?created_before=1970-01-01T00:00:00Z"))["results"] == []


async def test_the_files_of_an_expired_prediction_are_removed_with_its_data(
    write_model: Callable[..., Path], local: Any
) -> None:
    from replicate_job.serving.faults import Faults  # noqa: PLC0415 - only here

    write_model("""
        from cog import BasePredictor, Path

        class Predictor(BasePredictor):
            def predict(self) -> Path:
                Path("a.txt").write_text("hello")
                return Path("a.txt")
    """)
    async with local(faults=Faults.parse("expire=1s")) as api:
        done = await api.run()
        while not (found := await api.get(done["urls"]["get"]))["data_removed"]:
            pass
        assert (found["status"], found["output"], found["input"]) == ("succeeded", None, {})
        while (await api.request("GET", done["output"])).status == 200:
            pass
        assert (await api.request("GET", done["output"])).status == 404


async def test_a_fault_named_in_a_request_header_affects_only_that_request(api: Any) -> None:
    async def ask(fault: str, path: str = "/v1/account") -> Any:
        return await api.request("GET", path, x_replicate_job_fault=fault)

    assert (await ask("503")).status == 503
    assert (await ask("nonsense")).status == 200
    refused = await ask("no such thing")
    assert (refused.status, "is not a fault" in (await refused.json())["detail"]) == (400, True)
    with pytest.raises(PyreqwestError):
        await ask("drop")
    assert (await api.request("GET", "/v1/account")).status == 200


async def test_a_configured_fault_affects_only_its_own_operation(local: Any) -> None:
    from replicate_job.serving.faults import Faults  # noqa: PLC0415 - only here

    async with local(faults=Faults.parse("create:500-before=1,get:404=1")) as api:
        assert (await post(api, "0" * 64)).status == 500
        assert (await api.request("GET", f"{ALL}/a")).status == 404
        assert (await api.request("GET", ALL)).status == 200
