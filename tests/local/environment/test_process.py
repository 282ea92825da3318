"""Programs that the local server runs: their output is read, and they end when the server ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from replicate_job.aio import new_loop
from replicate_job.local.environment.process import Program, run


async def test_run_returns_the_exit_code_and_the_output() -> None:
    code, printed = await run(("/bin/sh", "-c", "echo out; echo err >&2; exit 7"), os.environ)
    assert (code, sorted(printed.split())) == (7, ["err", "out"])


async def test_each_line_is_reported_at_once_in_its_last_overwritten_state() -> None:
    lines: list[str] = []
    told = asyncio.Event()

    def tell(line: str) -> None:
        lines.append(line)
        told.set()

    task = asyncio.create_task(run(("/bin/sh", "-c", r"printf 'a\nb 1%%\rb 2%%\n'; sleep 60"), os.environ, None, tell))
    while len(lines) < 2:
        await told.wait()
        told.clear()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lines == ["a", "b 2%"]


async def test_a_command_runs_in_the_given_folder_and_environment(tmp_path: Path) -> None:
    assert await run(("/bin/sh", "-c", "pwd; echo $WORD"), {"WORD": "x"}, tmp_path) == (0, f"{tmp_path}\nx\n")


def test_a_command_ends_on_asyncios_loop_and_on_uvloop() -> None:
    for loop in (asyncio.new_event_loop, new_loop):
        with asyncio.Runner(loop_factory=loop) as runner:
            assert runner.run(asyncio.wait_for(run(("/bin/sh", "-c", "exit 7"), os.environ), 20)) == (7, "")


@pytest.mark.long
def test_many_concurrent_commands_do_not_close_the_files_of_other_commands() -> None:
    async def run_one(number: int) -> tuple[int, str]:
        async with asyncio.timeout(number % 7 * 0.004 if number % 3 == 0 else 60):
            return await run(("/bin/sh", "-c", f"echo {number}; sleep 0.01"), os.environ)

    async def run_many() -> None:
        for _ in range(10):
            found = await asyncio.gather(*map(run_one, range(20)), return_exceptions=True)
            for number, each in enumerate(found):
                assert each == (0, f"{number}\n") or (number % 3 == 0 and isinstance(each, TimeoutError))

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run_many())


async def test_canceling_at_any_step_of_the_start_ends_the_command() -> None:
    for steps in range(20):
        task = asyncio.create_task(run(("/bin/sh", "-c", "exec sleep 100"), os.environ))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,), timeout=60)
        assert task.cancelled()


async def test_canceling_ends_a_command_that_has_much_unread_output() -> None:
    flows = asyncio.Event()

    def stop(_: str) -> None:
        if not flows.is_set():
            flows.set()
            task.cancel()
            time.sleep(0.05)  # meanwhile the program prints on and fills every buffer

    task = asyncio.create_task(run(("yes",), os.environ, None, stop))
    await asyncio.wait((task,), timeout=60)
    assert task.cancelled()


async def test_run_does_not_wait_for_a_process_that_left_the_session(tmp_path: Path) -> None:
    left, end = tmp_path / "left", tmp_path / "end"
    os.mkfifo(left)
    os.mkfifo(end)
    leaver = f"setsid sh -c 'echo gone >{left}; read _ <{end}' & cat {left}; echo done; exit 3"
    async with asyncio.timeout(60):
        code, printed = await run(("/bin/sh", "-c", leaver), os.environ)
    assert (code, printed) == (3, "gone\ndone\n")
    end.write_text("end\n")


async def test_canceling_ends_the_command_and_its_children(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    task = asyncio.create_task(run(("/bin/sh", "-c", f"sleep 100 & exec 9>{fifo}; wait"), os.environ))
    end = await asyncio.to_thread(fifo.open, "rb")  # this returns when the program has opened it
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(end.read) == b""  # the pipe ends when every process that has it open has ended
    end.close()


async def test_a_process_group_is_killed_when_its_leader_ends(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = Program(f"sleep 100 9>{fifo} & echo $$; wait", (), os.environ)
    try:
        async with asyncio.timeout(60):
            end = await asyncio.to_thread(fifo.open, "rb")
            os.kill(int(await program.output.readline()), signal.SIGKILL)
            assert await program.wait() == -signal.SIGKILL
            assert await asyncio.to_thread(end.read) == b""
    finally:
        await program.close()
        program.stop_reading()
    end.close()


def test_killing_this_process_ends_the_command_too(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    code = (
        "import asyncio, os\n"
        "from replicate_job.local.environment.process import run\n"
        f"asyncio.run(run(('/bin/sh', '-c', 'exec 9>{fifo}; sleep 100'), os.environ))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    with fifo.open("rb") as end:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert end.read() == b""
