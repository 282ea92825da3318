"""When model servers start, are reused, and stop."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from replicate_job.local.prediction import Logged, Started

if TYPE_CHECKING:
    from collections.abc import Callable

CODE = """
    import os
    from cog import BaseRunner

    class Runner(BaseRunner):
        def run(self, wait: str = "", say: str = "") -> str:
            print("here", flush=True)
            if wait:
                open(wait).read()
            return say or str(os.getpid())
"""
CONFIG = 'run: "predict.py:Runner"\n'
pytestmark = pytest.mark.usefixtures("one")


@pytest.fixture
def one(write_model: Callable[..., Path]) -> None:
    for name in ("one", "two", "three"):
        write_model(CODE, CONFIG, name=name)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A named pipe. A model that reads it waits until the test opens it for writing."""
    place = tmp_path / "gate"
    os.mkfifo(place)
    return place


def is_alive(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


async def gone(process: str) -> None:
    async with asyncio.timeout(20):
        while is_alive(process):  # noqa: ASYNC110 - there is no event for the end of a process that is no child
            await asyncio.sleep(0.02)


async def test_a_server_is_reused_and_stops_after_its_idle_time(bench: Any) -> None:
    async with bench(idle=3.0) as engine:
        first = await engine.output("one")
        assert await engine.output("one") == first
        await gone(first)
        assert await engine.output("one") != first


async def test_the_least_recently_used_idle_server_is_stopped_to_make_room(bench: Any) -> None:
    async with bench(max_models=2) as engine:
        one, two = await engine.output("one"), await engine.output("two")
        assert await engine.output("one") == one
        await engine.output("three")
        await gone(two)
        assert await engine.output("one") == one


async def test_a_prediction_waits_while_all_servers_are_busy(bench: Any, gate: Path) -> None:
    async with bench(max_models=1) as engine:
        busy, busy_task = engine.start("one", wait=str(gate), say="first")
        await busy.until(Logged)
        waiting, waiting_task = engine.start("two", say="second")
        later, later_task = engine.start("one", say="third")
        opened = await asyncio.to_thread(gate.open, "w")
        assert not waiting.has_started
        assert not later.has_started
        opened.close()
        runs = await asyncio.gather(busy_task, waiting_task, later_task)
        assert [run.end.output for run in runs] == ["first", "second", "third"]


async def test_a_server_that_starts_takes_all_queued_predictions_of_its_model(bench: Any) -> None:
    async with bench(max_models=2) as engine:
        servers = await asyncio.gather(*(engine.output(name) for _ in range(10) for name in ("one", "two", "three")))
        assert len(set(servers)) <= 6


@pytest.mark.parametrize("name", ["two", "one"])
async def test_canceling_a_queued_prediction_ends_its_wait_at_once(bench: Any, gate: Path, name: str) -> None:
    async with bench(max_models=1) as engine:
        busy, busy_task = engine.start("one", wait=str(gate))
        await busy.until(Logged)
        run, task = engine.start(name)
        await asyncio.sleep(0)
        run.canceled.set()
        await asyncio.wait_for(task, 5)
        assert not run.has_started
        (await asyncio.to_thread(gate.open, "w")).close()
        assert (await busy_task).end.status == "succeeded"


async def test_predictions_of_one_model_start_in_order_of_arrival(bench: Any) -> None:
    async with bench() as engine:
        order: list[int] = []

        async def run(number: int) -> None:
            begun, task = engine.start("one")
            await begun.until(Started)
            order.append(number)
            await task

        await asyncio.gather(*(run(number) for number in range(10)))
        assert order == list(range(10))


async def test_a_prediction_that_runs_during_an_edit_ends_on_the_old_version(
    bench: Any, gate: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models" / "me" / "one"
    async with bench() as engine:
        old = engine.catalog.find("me", "one").version
        run, task = engine.start("one", wait=str(gate), say="old")
        await run.until(Logged)
        (folder / "predict.py").write_text((folder / "predict.py").read_text().replace("say or", "'new ' + say or"))
        new = engine.catalog.find("me", "one").version
        assert new != old
        assert await engine.output("one", say="code") == "new code"
        (await asyncio.to_thread(gate.open, "w")).close()
        assert (await task).end.output == "old"
        assert await engine.output(version=old, say="still old") == "still old"
        assert await engine.output(version=new, say="code") == "new code"


async def test_an_old_version_can_be_run_after_a_restart(bench: Any, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "me" / "one"
    async with bench() as engine:
        old = engine.catalog.find("me", "one").version
    (folder / "predict.py").write_text("raise RuntimeError")
    async with bench() as engine:
        assert await engine.output(version=old, say="old") == "old"


async def test_a_prediction_uses_the_server_that_was_started_in_advance(bench: Any) -> None:
    async with bench() as engine:
        engine.engine.warm(engine.catalog.find("me", "one"))
        assert is_alive(await engine.output("one"))
        assert len(list(engine.work.glob("model-*"))) == 1
