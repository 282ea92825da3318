from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import PyreqwestError

from replicate_job.errors import LocalError
from replicate_job.local.options import ServerOptions
from replicate_job.local.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable

WAITER = """
    import time
    from cog import BasePredictor

    class Predictor(BasePredictor):
        def predict(self) -> str:
            print("begun", flush=True)
            time.sleep(60)
            return "late"
"""


async def test_after_a_server_has_ended_no_port_is_open_and_signal_handlers_are_unchanged(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serve(ServerOptions(cache_dir=tmp_path)) as base_url, ClientBuilder().no_proxy().build() as client:
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        assert (await client.get(f"{base_url}/v1/account").build().send()).status == 200
    async with ClientBuilder().no_proxy().build() as client:
        with pytest.raises(PyreqwestError):
            await client.get(f"{base_url}/v1/account").build().send()


@pytest.fixture
def never_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the time limit for closing the server's parts, so that a part that does not close fails the test."""
    monkeypatch.setattr("replicate_job.local.build._CLOSE_TIMEOUT", 3600.0)


@pytest.mark.usefixtures("never_given_up")
async def test_the_server_ends_at_once_during_a_prediction_and_a_blocking_wait(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(WAITER)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(local())
        running = await api.until(await api.create({}), lambda found: "begun" in found["logs"])
        held = asyncio.create_task(api.create({}, prefer="wait=60"))
        while len((await api.get("/v1/predictions"))["results"]) < 2:  # noqa: ASYNC110 - the API has no event for a new prediction
            await asyncio.sleep(0.01)
        assert running["status"] == "processing"
        async with asyncio.timeout(30):
            await stack.aclose()
    with pytest.raises(PyreqwestError):
        await held


@pytest.mark.usefixtures("never_given_up")
async def test_canceling_the_servers_task_ends_the_server(write_model: Callable[..., Path], local: Any) -> None:
    write_model(WAITER)
    up: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def forever() -> None:
        async with local() as api:
            await api.until(await api.create({}), lambda found: "begun" in found["logs"])
            up.set_result(api)
            await asyncio.Event().wait()

    task = asyncio.create_task(forever())
    api = await up
    task.cancel()
    await asyncio.wait([task], timeout=30)
    assert task.cancelled()
    with pytest.raises(PyreqwestError):
        await api.get("/v1/account")


async def test_a_model_that_is_started_in_advance_is_ready_before_the_first_request(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(WAITER.replace("time.sleep(60)", "pass"))
    async with local(warm="me/model") as api:
        assert (await api.run())["output"] == "late"


async def test_a_model_that_cannot_be_prepared_gets_a_422_with_the_reason(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model("import nonsense_that_is_nowhere\nclass Predictor: pass", name="broken")
    write_model("", "predict: [", name="unreadable")
    write_model(WAITER.replace("time.sleep(60)", "pass"))
    async with local() as api:
        for name, reason in (("broken", "nonsense_that_is_nowhere"), ("unreadable", "cog.yaml cannot be read")):
            answer = await api.request("GET", f"/v1/models/me/{name}")
            assert answer.status == 422
            assert reason in (await answer.json())["detail"]
        assert (await api.run())["status"] == "succeeded"


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "starlette.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'starlette'\", name='starlette')"
    )
    script = (
        f"import sys, asyncio; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from replicate_job.errors import LocalError\n"
        "from replicate_job.local.server import serve\n"
        "async def main():\n"
        "    async with serve(): pass\n"
        "try: asyncio.run(main())\n"
        "except LocalError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.startswith("the local server needs starlette, which is not here: pip install 'httptools>=")
    assert "'starlette>=1'" in said


async def test_on_windows_the_error_names_the_supported_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(LocalError, match="needs a POSIX system"):
        async with serve():
            pass


async def test_the_error_for_an_unwritable_cache_names_the_folder(
    write_model: Callable[..., Path], local: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_model(WAITER)
    (tmp_path / "cache").touch()
    place = tmp_path / "cache" / "versions"
    async with local(cache_dir=tmp_path / "cache") as api:
        answer = await api.request("GET", "/v1/models/me/model")
        problem = (await answer.json())["detail"]
        assert answer.status == 422
        assert problem.startswith(f"me/model cannot be stored: {place}")
        assert problem.endswith(": Not a directory")
    with pytest.raises(LocalError) as caught:
        async with local(cache_dir=tmp_path / "cache", warm="me/model"):
            pass
    assert str(caught.value) == problem
    assert not caplog.records


async def test_the_server_does_not_start_if_the_model_to_start_in_advance_is_unreadable(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model("", "predict: [", name="unreadable")
    with pytest.raises(LocalError, match="cannot be read"):
        async with local(warm="me/unreadable"):
            pass


async def test_an_error_after_the_server_has_opened_its_port_is_a_warning_and_the_server_runs_on(
    write_model: Callable[..., Path], local: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write_model("", "predict: [", name="unreadable")
    heard: asyncio.Queue[str] = asyncio.Queue()

    def hear(line: str) -> None:
        heard.put_nowait(line)
        if "unreadable" in line:
            raise ValueError("no room for this line")

    async with local(on_warning=hear) as api:
        assert "cog.yaml cannot be read" in await asyncio.wait_for(heard.get(), 60)
        assert await asyncio.wait_for(heard.get(), 60) == "not everything could be prepared: no room for this line"
        assert (await api.request("GET", "/v1/account")).status == 200
    assert not caplog.records


@pytest.mark.parametrize("warm", ["no-such/model", "0" * 64, "/", "../.."])
async def test_an_unknown_model_to_start_in_advance_is_ignored(local: Any, warm: str) -> None:
    async with local(warm=warm) as api:
        assert (await api.request("GET", "/v1/account")).status == 200


async def test_a_users_model_is_prepared_at_its_first_use_and_not_by_listing(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(f"{WAITER}    # a version of its own\n")
    heard: list[str] = []
    async with local(on_notice=heard.append) as api:
        for _ in range(2):
            found = {each["name"]: each for each in (await api.get("/v1/models"))["results"]}
            assert found["model"]["latest_version"]["openapi_schema"]["components"] == {"schemas": {}}
        assert heard == []
        model = await api.get("/v1/models/me/model")
        assert "Input" in model["latest_version"]["openapi_schema"]["components"]["schemas"]
    async with local() as api:  # another server, which finds the stored schema
        found = {each["name"]: each for each in (await api.get("/v1/models"))["results"]}
        assert found["model"]["latest_version"] == model["latest_version"]


async def test_with_the_option_prepare_a_users_model_is_prepared_once_at_the_start(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(WAITER, 'build: {python_packages: ["./no-such-luck"]}\npredict: "predict.py:Predictor"\n')
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with local(on_notice=heard.put_nowait, prepare=True) as api:
        assert await asyncio.wait_for(heard.get(), 60) == "preparing me/model (once: its Python environment)"
        problem = (await (await api.request("GET", "/v1/models/me/model")).json())["detail"]
        assert problem.startswith("me/model: its Python environment could not be made: ")
        assert "no-such-luck" in problem
        while not heard.empty():
            heard.get_nowait()
        for _ in range(3):
            found = {each["name"]: each for each in (await api.get("/v1/models"))["results"]}
            assert found["model"]["latest_version"] is None
        assert heard.empty()


async def test_a_create_request_does_not_wait_for_a_slow_environment(
    write_model: Callable[..., Path], local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replicate_job.local.engine.SCHEMA_TIMEOUT", 0.05)
    gate = tmp_path / "gate"
    write_model(
        WAITER.replace("time.sleep(60)", "pass"),
        f'build: {{run: ["until [ -e /{gate} ]; do sleep 0.05; done"]}}\npredict: "predict.py:Predictor"\n',
    )
    async with local() as api:
        version = (await api.get("/v1/models/me/model"))["latest_version"]
        assert version["openapi_schema"]["components"] == {"schemas": {}}
        body = {"version": version["id"], "input": {}}
        made = await (await api.request("POST", "/v1/predictions", body)).json()
        assert made["status"] == "starting"
        gate.touch()
        assert (await api.until(made, lambda found: "completed_at" in found))["status"] == "succeeded"
