"""Which model servers run, and for how long."""

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
    """A model that reads it waits until somebody opens it for writing."""
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
        while is_alive(process):  # noqa: ASYNC110 - of another's child, no system call tells the end
            await asyncio.sleep(0.02)


async def test_a_server_stays_warm_and_stops_when_it_was_idle_long_enough(bench: Any) -> None:
    async with bench(idle=3.0) as engine:
        first = await engine.output("one")
        assert await engine.output("one") == first
        await gone(first)
        assert await engine.output("one") != first


async def test_the_least_recently_used_idle_server_makes_room(bench: Any) -> None:
    async with bench(max_models=2) as engine:
        one, two = await engine.output("one"), await engine.output("two")
        assert await engine.output("one") == one
        await engine.output("three")
        await gone(two)
        assert await engine.output("one") == one


async def test_where_all_are_busy_a_newcomer_waits_without_starting(bench: Any, gate: Path) -> None:
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


async def test_a_server_that_starts_takes_all_of_its_predictions_in_the_queue(bench: Any) -> None:
    async with bench(max_models=2) as engine:
        servers = await asyncio.gather(*(engine.output(name) for _ in range(10) for name in ("one", "two", "three")))
        assert len(set(servers)) <= 6


@pytest.mark.parametrize("name", ["two", "one"])
async def test_a_cancellation_while_waiting_ends_the_wait_at_once(bench: Any, gate: Path, name: str) -> None:
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


async def test_predictions_of_one_model_start_in_the_order_they_came(bench: Any) -> None:
    async with bench() as engine:
        order: list[int] = []

        async def run(number: int) -> None:
            begun, task = engine.start("one")
            await begun.until(Started)
            order.append(number)
            await task

        await asyncio.gather(*(run(number) for number in range(10)))
        assert order == list(range(10))


async def test_an_edit_makes_a_new_version_while_a_running_prediction_ends_on_the_old(
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


async def test_a_server_that_was_warmed_is_the_one_that_is_used(bench: Any) -> None:
    async with bench() as engine:
        engine.engine.warm(engine.catalog.find("me", "one"))
        assert is_alive(await engine.output("one"))
        assert len(list(engine.work.glob("model-*"))) == 1
