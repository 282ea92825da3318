from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ILL = """
    import os, sys, time
    from cog import BaseRunner

    class Runner(BaseRunner):
        def setup(self):
            if os.path.exists("broken.txt"):
                raise RuntimeError("the weights are missing")

        def run(self, how: str = "") -> str:
            match how:
                case "crash":
                    os._exit(3)
                case "raise":
                    print("about to fail")
                    raise ValueError("no good")
                case "write":
                    with open("note.txt", "a") as note:
                        note.write("x")
                case "environment":
                    return " ".join(name for name in os.environ if name.startswith("REPLICATE_"))
                case "proxy":
                    return " ".join(os.environ[name] for name in ("NO_PROXY", "no_proxy"))
                case "where":
                    return os.getcwd()
            return "well"
"""
CONFIG = 'run: "predict.py:Runner"\n'
SCRATCH = Path("/tmp/coglet/predictions")  # noqa: S108 - coglet uses this path


def processes_in(folder: str) -> set[int]:
    """Ids of the processes whose working directory is this folder."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str((entry / "cwd").readlink()).startswith(folder):
                found.add(int(entry.name))
        except OSError:
            continue
    return found


async def test_a_crash_fails_its_prediction_with_the_reason_and_the_next_one_succeeds(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(ILL, CONFIG)
    async with local() as api:
        for _ in range(2):
            crashed = await api.run(how="crash")
            assert (crashed["status"], crashed["error"]) == ("failed", "the model's process crashed (exit code 3)")
            assert (await api.run())["output"] == "well"


async def test_a_model_server_that_is_killed_while_idle_is_started_again(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(ILL, CONFIG)
    async with local() as api:
        folder = (await api.run(how="where"))["output"]
        for process in processes_in(folder):
            with suppress(ProcessLookupError):  # it has ended with another process of its group
                os.kill(process, signal.SIGKILL)
        async with asyncio.timeout(60):
            while processes_in(folder):  # noqa: ASYNC110 - there is no event for the end of a process that is no child
                await asyncio.sleep(0.01)
        assert (await api.run())["output"] == "well"


async def test_an_exception_fails_the_prediction_with_its_message_and_the_logs(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(ILL, CONFIG)
    async with local() as api:
        failed = await api.run(how="raise")
        assert (failed["status"], failed["error"]) == ("failed", "ValueError: no good")
        assert failed["logs"] == "about to fail\n"
        assert failed["output"] is None


async def test_a_failed_setup_fails_the_prediction_with_the_reason_and_the_log(
    write_model: Callable[..., Path], local: Any
) -> None:
    folder = write_model(ILL, CONFIG, broken_dot_txt="")
    async with local() as api:
        failed = await api.run()
        assert failed["status"] == "failed"
        assert "started_at" not in failed
        assert failed["error"] == "me/model could not be set up: RuntimeError: the weights are missing"
        assert failed["logs"].endswith("RuntimeError: the weights are missing\n")
        version = failed["version"]
        (folder / "broken.txt").unlink()
        while await api.version() == version:  # noqa: ASYNC110 - the catalog checks the folder at intervals
            await asyncio.sleep(0.1)
        assert (await api.run())["output"] == "well"


async def test_a_model_writes_into_a_copy_of_its_source_folder(write_model: Callable[..., Path], local: Any) -> None:
    folder = write_model(ILL, CONFIG)
    for _ in range(2):  # files beside its code stay for the next server
        async with local() as api:
            work = Path((await api.run(how="where"))["output"])
            await api.run(how="write")
    assert (work / "note.txt").read_text() == "xx"
    assert not (folder / "note.txt").exists()
    assert not (folder / ".cog").exists()


async def test_a_model_does_not_see_the_token(
    write_model: Callable[..., Path], local: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_secret")
    write_model(ILL, CONFIG)
    async with local() as api:
        assert (await api.run(how="environment"))["output"] == ""


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
async def test_a_model_fetches_its_input_files_without_a_proxy(
    write_model: Callable[..., Path], local: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for other in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "example.com")
    write_model(ILL, CONFIG)
    async with local() as api:
        assert (await api.run(how="proxy"))["output"] == " ".join(["127.0.0.1,localhost,example.com"] * 2)


async def test_predictions_wait_for_a_free_slot_and_leave_no_files(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(ILL, CONFIG)
    async with local() as api:
        done = await asyncio.gather(*(api.run() for _ in range(20)))
        assert [found["output"] for found in done] == ["well"] * 20
        async with asyncio.timeout(30):  # they are removed shortly after the end is reported
            while any((SCRATCH / found["id"]).exists() for found in done):  # noqa: ASYNC110 - there is no event for the removal of a folder
                await asyncio.sleep(0.01)


async def test_predictions_of_a_concurrent_model_run_at_the_same_time(
    write_model: Callable[..., Path], local: Any
) -> None:
    # Each prediction waits until both run: one after the other, they would wait for ever.
    code = """
        import asyncio
        from cog import BasePredictor, concurrent

        class Predictor(BasePredictor):
            async def setup(self):
                self.both = asyncio.Barrier(2)

            @concurrent(max=2)
            async def predict(self) -> str:
                await self.both.wait()
                return "met"
    """
    write_model(code, 'predict: "predict.py:Predictor"\nconcurrency:\n  max: 2\n')
    async with local() as api:
        done = await asyncio.gather(api.run(), api.run())
        assert [found["output"] for found in done] == ["met", "met"]


WRITER = """
    import itertools, os, subprocess
    from pathlib import Path
    from cog import BasePredictor, Path as File

    class Predictor(BasePredictor):
        def predict(self, picture: File) -> str:
            subprocess.Popen(["sleep", "1000"])
            print(os.getcwd(), flush=True)
            for number in itertools.count():
                Path(os.environ["TMPDIR"], f"{number % 1000}.txt").write_text("x")
"""
# It ends when its standard input ends, so nothing is left even if the test is killed.
SERVING = """
    import asyncio, os, sys, threading
    from pathlib import Path
    from replicate_job.local.options import ServerOptions
    from replicate_job.local.server import serve

    async def main():
        async with serve(ServerOptions(models=[Path(sys.argv[1])], cache_dir=Path(sys.argv[2]))) as url:
            print(url, flush=True)
            await asyncio.Event().wait()

    threading.Thread(target=lambda: os._exit(len(sys.stdin.read())), daemon=True).start()
    asyncio.run(main())
"""


@asynccontextmanager
async def serving(folder: Path, cache: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A server in a process of its own, with its temporary files in ``folder/tmp``; killed at the end."""
    (folder / "tmp").mkdir()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", textwrap.dedent(SERVING), str(folder / "models"), str(cache)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
    )
    try:
        assert process.stdout
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("with_shell", [False, True], ids=["alone", "and the shell that watches it"])
async def test_a_local_server_that_is_killed_leaves_no_process_and_no_folder(
    write_model: Callable[..., Path],
    cache: Path,
    reach: Any,
    tmp_path: Path,
    with_shell: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    write_model(WRITER)
    async with serving(tmp_path, cache) as (process, url), reach(url) as api:
        made = await api.create({"picture": "data:image/png;base64,aGk="})
        running = await api.until(made, lambda found: found["logs"])
        folder, scratch = running["logs"].strip(), SCRATCH / made["id"]
        found = processes_in(folder)
        assert len(found) >= 3
        assert scratch.exists()
        process.kill()
        if with_shell:
            os.kill(min(found), signal.SIGKILL)  # the group's leader has the lowest id, because it was started first
        await process.wait()
        async with asyncio.timeout(10):
            while processes_in(folder):  # noqa: ASYNC110 - there is no event for the end of a process that is no child
                await asyncio.sleep(0.01)
            while not with_shell and (os.listdir(tmp_path / "tmp") or scratch.exists()):  # noqa: ASYNC110, PTH208
                await asyncio.sleep(0.01)
