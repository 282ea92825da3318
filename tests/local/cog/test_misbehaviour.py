"""Models that do what they should not: the caller learns why, and the next prediction works."""

from __future__ import annotations

import asyncio
import os
import re
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
                    return "y" * 100_000_000
            return "well"
"""
CONFIG = 'run: "predict.py:Runner"\n'
FILE = """
    from cog import BaseRunner, Path

    class Runner(BaseRunner):
        def run(self) -> Path:
            path = Path("large.bin")
            path.write_bytes(b"z" * 100_000_000)
            return path
"""
SCRATCH = Path("/tmp/coglet/predictions")  # noqa: S108 - the place is coglet's choice


@pytest.mark.parametrize(
    ("how", "reason"), [("exit", "exit code 3"), ("segfault", "SIGSEGV"), ("kill", "SIGKILL; the machine may be out")]
)
async def test_a_crash_fails_its_prediction_with_how_the_process_ended_and_the_next_one_succeeds(
    write_model: Callable[..., Path], bench: Any, how: str, reason: str
) -> None:
    write_model(ILL, CONFIG)
    async with bench() as engine:
        for _ in range(2):
            end = (await engine.run(how=how)).end
            assert end.status == "failed"
            assert end.error.startswith(f"the model's process crashed ({reason}")
            assert await engine.output() == "well"


async def test_a_model_that_eats_memory_gets_an_error_that_says_how_much_there_is(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model(ILL, CONFIG)
    async with bench(memory=600 * 2**20) as engine:
        end = (await engine.run(how="eat")).end
        assert end.error == "MemoryError: out of memory: a model's process may have 600 MiB here"
        assert await engine.output() == "well"


async def test_a_model_that_does_not_hear_its_cancellation_is_ended_by_force(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model(ILL, CONFIG)
    async with bench() as engine:
        run, task = engine.start(how="deaf")
        await run.until(Logged)
        run.canceled.set()
        await asyncio.wait_for(task, 20)
        assert not (SCRATCH / run.id).exists()
        assert await engine.output() == "well"


async def test_of_fifty_megabytes_of_log_the_beginning_and_the_end_are_kept(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model(ILL, CONFIG)
    async with bench() as engine:
        run = await engine.run(how="chatter")
        assert run.end.output == "well"
        log = run.log
        assert len(log) < 600_000
        assert log.startswith("0 xxx")
        assert log.endswith("x\n")
        assert "49999 xxx" in log
        found = re.search(r"\n\[([\d,]+) characters of the log are left out here\]\n", log)
        assert found
        kept = len(log) - len(found[0])
        assert int(found[1].replace(",", "")) + kept == sum(len(f"{number} ") + 1000 for number in range(50_000))


async def test_a_hundred_megabytes_of_text_come_whole(write_model: Callable[..., Path], bench: Any) -> None:
    write_model(ILL, CONFIG)
    async with bench() as engine:
        assert await engine.output(how="text") == "y" * 100_000_000
        assert await engine.output() == "well"


async def test_a_file_of_a_hundred_megabytes_comes_whole(write_model: Callable[..., Path], bench: Any) -> None:
    write_model(FILE, CONFIG)
    async with bench() as engine:
        address = await engine.output()
        assert engine.read(address) == b"z" * 100_000_000


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


async def test_a_failed_setup_gives_its_traceback_in_the_log_and_its_last_line_as_the_error(
    write_model: Callable[..., Path], bench: Any
) -> None:
    folder = write_model(BROKEN, CONFIG)
    async with bench() as engine:
        run = await engine.run()
        assert run.end.error == "me/model could not be set up: RuntimeError: the weights are missing"
        assert not run.has_started
        lines = run.log.splitlines()
        assert lines[0] == "looking for weights"
        assert lines[1] == "Traceback (most recent call last):"
        assert lines[-1] == "RuntimeError: the weights are missing"
        assert any("in deep" in line for line in lines)
        (folder / "predict.py").write_text((folder / "predict.py").read_text().replace("deep()\n\n", "pass\n\n"))
        assert await engine.output() == "well"


async def test_an_import_that_fails_later_than_the_schema_is_a_failed_setup_with_its_traceback(
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


async def test_a_setup_that_crashes_says_how(write_model: Callable[..., Path], bench: Any) -> None:
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
        (await asyncio.to_thread(fifo.open)).close()  # opens once the setup has
        run.canceled.set()
        await asyncio.wait_for(task, 2)
        assert not run.has_started


async def test_a_model_that_cannot_be_imported_is_refused_where_its_schema_is_asked_for(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model("import nowhere\n", CONFIG)
    async with bench() as engine:
        end = (await engine.run()).end
        assert end.error == "me/model: predict.py:Runner cannot be read: ModuleNotFoundError: No module named 'nowhere'"


async def test_three_hundred_predictions_at_once_to_three_models_all_end(
    write_model: Callable[..., Path], bench: Any
) -> None:
    for name in ("one", "two", "three"):
        write_model(ILL, CONFIG, name=name)
    async with bench(max_models=2) as engine:
        runs = await asyncio.gather(*(engine.run(name) for _ in range(100) for name in ("one", "two", "three")))
        assert [run.end.output for run in runs] == ["well"] * 300
        assert all(isinstance(run.events[0], Started) for run in runs[6:])
        assert not [run.id for run in runs if (SCRATCH / run.id).exists()]
