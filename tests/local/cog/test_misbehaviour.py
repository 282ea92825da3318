"""Models that crash, hang or use too much: the prediction fails with the reason, and the next one works."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from replicate_job.local.prediction import Logged, Started

if TYPE_CHECKING:
    from collections.abc import Callable

ILL = """
    import ctypes, os, signal, sys, time
    from cog import BaseRunner, Path

    class Runner(BaseRunner):
        def run(self, how: str = "") -> str:
            match how:
                case "exit":
                    os._exit(3)
                case "segfault":
                    ctypes.string_at(0)
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "eat":
                    eaten = []
                    while True:
                        eaten.append(bytearray(10_000_000))
                case "deaf":
                    print("deaf", flush=True)
                    while True:
                        try:
                            ctypes.CDLL(None).sleep(60)
                        except BaseException:
                            pass
                case "chatter":
                    line = "x" * 999
                    for number in range(50_000):
                        print(number, line)
                case "text":
                    return "y" * 40_000_000
            return "well"
"""
CONFIG = 'run: "predict.py:Runner"\n'
FILE = """
    from cog import BaseRunner, Path

    class Runner(BaseRunner):
        def run(self) -> Path:
            path = Path("large.bin")
            path.write_bytes(b"z" * 40_000_000)
            return path
"""
DEAF = """
    import asyncio, ctypes, os
    from cog import BaseRunner

    class Runner(BaseRunner):
        running = 0

        async def run(self, how: str = "") -> str:
            self.running += 1
            seen = self.running
            try:
                await self.act(how)
            finally:
                self.running -= 1
            return f"{seen} at once"

        async def act(self, how: str) -> None:
            print(os.getpid() if how == "who" else how, flush=True)
            match how:
                case "waits":
                    await asyncio.sleep(1000)
                case "tidies":
                    try:
                        await asyncio.sleep(1000)
                    finally:
                        await asyncio.sleep(0.3)
                case "swallows":
                    while True:
                        try:
                            await asyncio.sleep(1000)
                        except asyncio.CancelledError:
                            pass
                case "blocks":
                    while True:
                        ctypes.CDLL(None).sleep(60)
"""
YIELDS = """
    import asyncio, os
    from typing import AsyncIterator
    from cog import BaseRunner

    class Runner(BaseRunner):
        running = 0

        async def run(self, how: str = "") -> AsyncIterator[str]:
            self.running += 1
            try:
                print(os.getpid() if how == "who" else how, flush=True)
                yield f"{self.running} at once"
                if how == "yields":
                    await asyncio.sleep(1000)
            finally:
                self.running -= 1
"""
STOPPER = """
    import os, signal, time
    from cog import BaseRunner

    class Runner(BaseRunner):
        def run(self, fifo: str = "") -> str:
            if fifo:
                shell = open(f"/proc/{os.getppid()}/stat").read()
                os.kill(int(shell.rpartition(")")[2].split()[1]), signal.SIGSTOP)
                open(fifo, "w").close()
                time.sleep(1000)
            return "well"
"""
SCRATCH = Path("/tmp/coglet/predictions")  # noqa: S108 - coglet uses this path


@pytest.mark.parametrize(
    ("how", "reason"), [("exit", "exit code 3"), ("segfault", "SIGSEGV"), ("kill", "SIGKILL; the machine may be out")]
)
async def test_a_crash_fails_its_prediction_with_the_exit_code_or_signal(
    write_model: Callable[..., Path], bench: Any, how: str, reason: str
) -> None:
    write_model(ILL, CONFIG)
    async with bench() as engine:
        for _ in range(2):
            end = (await engine.run(how=how)).end
            assert end.status == "failed"
            assert end.error.startswith(f"the model's process crashed ({reason}")
            assert await engine.output() == "well"


async def test_a_model_over_its_memory_limit_fails_with_an_error_that_names_the_limit(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model(ILL, CONFIG)
    async with bench(memory=600 * 2**20) as engine:
        end = (await engine.run(how="eat")).end
        assert end.error == "MemoryError: out of memory: a model's process may have 600 MiB here"
        assert await engine.output() == "well"


async def test_a_model_that_ignores_its_cancellation_is_killed(write_model: Callable[..., Path], bench: Any) -> None:
    write_model(ILL, CONFIG)
    async with bench() as engine:
        run, task = engine.start(how="deaf")
        await run.until(Logged)
        run.canceled.set()
        await asyncio.wait_for(task, 20)
        assert not (SCRATCH / run.id).exists()
        assert await engine.output() == "well"


@pytest.mark.parametrize("how", ["swallows", "blocks"])
async def test_an_async_model_that_ignores_its_cancellation_is_killed_before_the_next_prediction(
    write_model: Callable[..., Path], bench: Any, how: str
) -> None:
    write_model(DEAF, CONFIG)
    async with bench() as engine:
        run, task = engine.start(how=how)
        await run.until(Logged)
        run.canceled.set()
        assert await asyncio.wait_for(engine.output(), 20) == "1 at once"
        await task


@pytest.mark.parametrize("how", ["tidies", "yields"])
async def test_an_async_model_that_stops_when_canceled_is_not_killed(
    write_model: Callable[..., Path], bench: Any, how: str
) -> None:
    write_model(YIELDS if how == "yields" else DEAF, CONFIG)
    async with bench(grace=60) as engine:
        process = (await engine.run(how="who")).log.splitlines()[-1]  # the environment's making may be before it
        run, task = engine.start(how=how)
        await run.until(Logged)
        run.canceled.set()
        assert await asyncio.wait_for(engine.output(), 20) in ("1 at once", ["1 at once"])
        await task
        assert (await engine.run(how="who")).log == f"{process}\n"


async def test_a_prediction_killed_because_of_a_canceled_one_reports_the_reason(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model(DEAF, f"{CONFIG}concurrency:\n  max: 2\n")
    async with bench() as engine:
        beside, waiting = engine.start(how="waits")
        await beside.until(Logged)
        run, task = engine.start(how="blocks")
        await run.until(Logged)
        run.canceled.set()
        await asyncio.wait_for(asyncio.gather(task, waiting), 20)
        reason = "the model's process was ended: another prediction went on after its cancellation"
        assert (beside.end.status, beside.end.error) == ("failed", reason)
        assert await engine.output() == "1 at once"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_canceling_a_prediction_kills_a_model_server_that_does_not_respond(
    write_model: Callable[..., Path], bench: Any, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    write_model(STOPPER, CONFIG)
    async with bench() as engine:
        run, task = engine.start(fifo=str(fifo))
        (await asyncio.to_thread(fifo.open)).close()  # this returns when the model server has been stopped
        run.canceled.set()
        await asyncio.wait_for(task, 20)
        assert await engine.output() == "well"


async def test_a_log_of_fifty_megabytes_keeps_its_beginning_and_its_end(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model(ILL, CONFIG)
    async with bench() as engine:
        run = await engine.run(how="chatter")
        assert run.end.output == "well"
        log = run.log
        assert len(log) < 600_000
        assert "\n0 xxx" in f"\n{log}"  # the preparation of the environment may be before it
        assert log.endswith("x\n")
        assert "49999 xxx" in log
        found = re.search(r"\n\[([\d,]+) characters of the log are left out here\]\n", log)
        assert found
        kept = len(log) - len(found[0])
        assert int(found[1].replace(",", "")) + kept == sum(len(f"{number} ") + 1000 for number in range(50_000))


async def test_a_text_output_of_forty_megabytes_is_complete(write_model: Callable[..., Path], bench: Any) -> None:
    write_model(ILL, CONFIG)
    async with bench() as engine:
        assert await engine.output(how="text") == "y" * 40_000_000
        assert await engine.output() == "well"


async def test_an_output_file_of_forty_megabytes_is_complete(write_model: Callable[..., Path], bench: Any) -> None:
    write_model(FILE, CONFIG)
    async with bench() as engine:
        address = await engine.output()
        assert engine.read(address) == b"z" * 40_000_000


async def test_an_output_that_cannot_be_stored_fails_the_prediction_with_the_path(
    write_model: Callable[..., Path], bench: Any, tmp_path: Path
) -> None:
    write_model(FILE, CONFIG)
    async with bench() as engine:
        shutil.rmtree(tmp_path / "files", ignore_errors=True)
        (tmp_path / "files").touch()
        end = (await engine.run()).end
        assert end.error.startswith(f"me/model could not be run here: {tmp_path}/files/")
        assert end.error.endswith(": Not a directory")


BROKEN = """
    import os, time
    from cog import BaseRunner

    def deep():
        raise RuntimeError("the weights are missing")

    class Runner(BaseRunner):
        def setup(self):
            print("looking for weights")
            deep()

        def run(self) -> str:
            return "well"
"""


async def test_a_failed_setup_has_its_traceback_in_the_log_and_its_last_line_as_the_error(
    write_model: Callable[..., Path], bench: Any
) -> None:
    folder = write_model(BROKEN, CONFIG)
    async with bench() as engine:
        run = await engine.run()
        assert run.end.error == "me/model could not be set up: RuntimeError: the weights are missing"
        assert not run.has_started
        lines = run.log.splitlines()
        lines = lines[lines.index("looking for weights") :]  # the log begins with the preparation of the environment
        assert lines[1] == "Traceback (most recent call last):"
        assert lines[-1] == "RuntimeError: the weights are missing"
        assert any("in deep" in line for line in lines)
        (folder / "predict.py").write_text((folder / "predict.py").read_text().replace("deep()\n\n", "pass\n\n"))
        assert await engine.output() == "well"


async def test_an_import_that_fails_only_in_the_setup_has_its_traceback_in_the_log(
    write_model: Callable[..., Path], bench: Any
) -> None:
    code = """
        import os
        if "PORT" in os.environ:
            import nowhere
        from cog import BaseRunner

        class Runner(BaseRunner):
            def run(self) -> str: return ""
    """
    write_model(code, CONFIG)
    async with bench() as engine:
        run = await engine.run()
        assert run.end.error == "me/model could not be set up: ModuleNotFoundError: No module named 'nowhere'"
        assert "import nowhere" in run.log


async def test_a_crash_of_a_setup_is_reported_with_its_exit_code(write_model: Callable[..., Path], bench: Any) -> None:
    write_model(BROKEN.replace("deep()\n\n        def run", "os._exit(4)\n\n        def run"), CONFIG)
    async with bench() as engine:
        assert (await engine.run()).end.error == "me/model could not be set up: its process crashed (exit code 4)"


async def test_a_cancellation_during_an_endless_setup_ends_the_prediction_at_once(
    write_model: Callable[..., Path], bench: Any, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    endless = f"open({str(fifo)!r}, 'w')\n            time.sleep(1000)\n\n        def run"
    write_model(BROKEN.replace("deep()\n\n        def run", endless), CONFIG)
    async with bench() as engine:
        run, task = engine.start()
        (await asyncio.to_thread(fifo.open)).close()  # this returns when the setup has opened it too
        run.canceled.set()
        await asyncio.wait_for(task, 2)
        assert not run.has_started


async def test_a_prediction_of_a_model_that_cannot_be_imported_has_the_import_error(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model("import nowhere\n", CONFIG)
    async with bench() as engine:
        end = (await engine.run()).end
        assert end.error == "me/model: predict.py:Runner cannot be read: ModuleNotFoundError: No module named 'nowhere'"


async def test_three_hundred_concurrent_predictions_of_three_models_all_end(
    write_model: Callable[..., Path], bench: Any
) -> None:
    for name in ("one", "two", "three"):
        write_model(ILL, CONFIG, name=name)
    async with bench(max_models=2) as engine:
        runs = await asyncio.gather(*(engine.run(name) for _ in range(100) for name in ("one", "two", "three")))
        assert [run.end.output for run in runs] == ["well"] * 300
        assert all(isinstance(run.events[0], Started) for run in runs[6:])
        assert not [run.id for run in runs if (SCRATCH / run.id).exists()]
