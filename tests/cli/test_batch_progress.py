from __future__ import annotations

import asyncio
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from replicate_job.batches.progress import Tally
from replicate_job.cli import repeats
from replicate_job.cli.batch_progress import (
    EVERY,
    FIRST,
    ProgressReporter,
    Speed,
    heartbeat,
    shortest,
    time_left,
)
from replicate_job.cli.live_batch import Block, fit
from replicate_job.cli.repeats import KINDS, MINUTE, Repeats, kind_of
from replicate_job.wire.prediction import Prediction

HOUR = 3600.0
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOR = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def busy(**other: float | None) -> Tally:
    """The counts of a batch that has run for a while."""
    usual = {"total": 10_000, "running": 430, "waiting": 8, "succeeded": 1_238, "failed": 12, "predict_time": 3_720}
    return Tally(**{**usual, **other})  # type: ignore[arg-type] # each field takes its own


# Speed


def run(speed: Speed, tally: Tally, *, since: int, seconds: int, each: float) -> None:
    """``each`` rows end a second, and ``speed`` is updated every second."""
    start = tally.succeeded
    for second in range(1, seconds + 1):
        tally.succeeded = start + int(second * each)
        speed.update(tally, since + second)


def test_the_rate_counts_rows_of_the_last_minute_or_of_the_whole_run_if_it_is_shorter() -> None:
    speed, tally = Speed(0), Tally(total=10_000)
    run(speed, tally, since=0, seconds=30, each=2)
    assert speed.rate == pytest.approx(2)
    run(speed, tally, since=30, seconds=30, each=10)
    assert speed.rate == pytest.approx(6)
    run(speed, tally, since=60, seconds=60, each=10)
    assert speed.rate == pytest.approx(10, rel=0.02)


def test_rows_that_ended_before_the_run_do_not_count_for_the_rate() -> None:
    speed = Speed(0)
    tally = Tally(total=10_000, succeeded=5_000, failed=30, wrong=10, stored=5_000)
    speed.update(tally, 10)
    assert speed.rate == pytest.approx(4)
    tally = Tally(total=10_000, succeeded=5_000, stored=5_000)
    speed = Speed(0)
    speed.update(tally, 10)
    assert (speed.rate, speed.left) == (None, None)


def test_there_is_no_rate_in_the_first_2_seconds() -> None:
    speed = Speed(0)
    speed.update(Tally(total=100, succeeded=5), 1)
    assert (speed.rate, speed.left) == (None, None)


def test_the_rate_of_slow_rows_is_measured_over_the_last_ten_rows() -> None:
    speed, tally = Speed(0), Tally(total=100)
    for minute in range(1, 41):  # a row every two minutes
        tally.succeeded = minute // 2
        speed.update(tally, minute * 60)
        if minute > 20:
            assert speed.rate == pytest.approx(1 / 120, rel=0.1)


def test_the_shown_rate_falls_while_no_row_ends() -> None:
    speed, tally = Speed(0), Tally(total=10_000)
    run(speed, tally, since=0, seconds=60, each=10)
    run(speed, tally, since=60, seconds=120, each=0)
    assert speed.rate
    assert speed.rate < 0.2


def test_the_time_left_is_calculated_from_the_rate() -> None:
    assert time_left(Tally(total=1_000, succeeded=350, failed=40, wrong=10), 2) == 300


def test_the_time_left_is_unknown_without_a_total_or_a_rate_and_at_the_end() -> None:
    assert time_left(Tally(succeeded=400), 2) is None
    assert time_left(Tally(total=1_000, succeeded=400), None) is None
    assert time_left(Tally(total=1_000, succeeded=1_000), 2) is None


def test_the_time_left_is_never_less_than_the_rate_limit_takes() -> None:
    tally = Tally(total=1_000, succeeded=380, running=15, saving=5, waiting=10, pace=0.5, paused=12)
    assert shortest(tally) == 600 / 0.5 + 12
    assert time_left(tally, 100) == 1_212
    speed = Speed(0)
    speed.update(tally, 2)
    tally.pace = 0.1  # the API takes less from now on
    speed.update(tally, 2.2)
    assert speed.left == 6_012


def test_a_wrong_first_estimate_of_the_time_left_is_corrected_smoothly_within_a_minute() -> None:
    speed, tally = Speed(0), Tally(total=10_000)
    tally.succeeded = 1
    speed.update(tally, 5)
    assert speed.left
    assert speed.left > 12 * HOUR
    seen = [speed.left]
    for second in range(6, 66):
        tally.succeeded = 10 * (second - 5)
        speed.update(tally, second)
        assert speed.left
        seen.append(speed.left)
    assert all(after > before * 0.6 for before, after in pairwise(seen))
    assert seen[-1] == pytest.approx((10_000 - 600) / 10, rel=0.2)


def test_the_time_left_counts_down_at_a_constant_rate() -> None:
    speed, tally = Speed(0), Tally(total=10_000)
    for second in range(1, 500):
        tally.succeeded = 10 * second
        speed.update(tally, second)
        if second >= 2:
            assert speed.left == pytest.approx(1_000 - second, abs=0.1)


# The line of a log


def test_a_heartbeat_has_every_known_number() -> None:
    assert heartbeat(busy(pace=10.0), 598 / 60, 870) == (
        "1,250 of 10,000 done, 12 failed, 430 running, 8,320 waiting, 598/min, 1h 2m predict time, about 15 min left"
    )


def test_a_heartbeat_leaves_out_unknown_numbers() -> None:
    assert heartbeat(Tally(waiting=3), None, None) == "0 done, 0 running, 3 waiting"
    assert heartbeat(Tally(total=0), None, None) == "0 of 0 done, 0 running, 0 waiting"


def test_a_heartbeat_says_that_the_api_throttles_requests() -> None:
    assert heartbeat(busy(predict_time=0, paused=11.2), 10, 900).endswith(
        ", 600/min, about 15 min left, throttled, waiting 12 s"
    )


def test_a_heartbeat_counts_invalid_rows_as_failed_and_rows_that_are_being_saved_as_running() -> None:
    line = heartbeat(Tally(total=100, succeeded=10, failed=2, wrong=3, running=4, saving=5, waiting=6), None, None)
    assert line == "15 of 100 done, 5 failed, 9 running, 76 waiting"


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_a_log_gets_a_progress_line_after_5_s_and_then_every_15_s(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    at = []
    with ProgressReporter(busy(), now=clock) as reporter:
        for second in range(60):
            clock.now = 100.0 + second
            reporter.tick()
            at += [second] * len(told(capsys))
    assert at == [FIRST, FIRST + EVERY, FIRST + 2 * EVERY, FIRST + 3 * EVERY]


def test_rows_that_have_not_been_read_yet_count_as_waiting() -> None:
    assert (
        heartbeat(Tally(total=40, read=11, succeeded=3, running=8), None, None) == "3 of 40 done, 8 running, 29 waiting"
    )


async def test_a_progress_line_shows_the_current_counts_until_the_task_is_canceled() -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    clock, tally = Clock(), Tally(total=3)

    class Listening(ProgressReporter):
        every = 0.001

        def line(self, text: str, level: str = "") -> None:  # noqa: ARG002 - the base class's parameters
            heard.put_nowait(text)

    beating = asyncio.create_task(Listening(tally, now=clock).beat())
    clock.now += FIRST
    assert await heard.get() == "0 of 3 done, 0 running, 3 waiting"
    tally.succeeded = 2
    clock.now += EVERY
    assert (await heard.get()).startswith("2 of 3 done, ")
    beating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beating


# The reporter


def test_with_quiet_only_errors_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    for verbose in (False, True):
        with ProgressReporter(busy(), verbose=verbose, quiet=True, now=clock) as reporter:
            reporter.warn("a")
            reporter.warn("a")
            reporter.note("b")
            reporter.error("c")
            clock.now += 300
            reporter.tick()
        assert told(capsys) == ["error: c"]


def test_with_verbose_each_line_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressReporter(busy(), verbose=True, now=Clock()) as reporter:
        for row in range(3):
            reporter.warn(f"row {row}: broken")
            reporter.note(f"row {row}: looking")
            reporter.observed(Prediction(id="p", status="starting"))
    assert told(capsys) == [line for row in range(3) for line in (f"warning: row {row}: broken", f"row {row}: looking")]


def test_warnings_of_one_kind_share_one_line_a_minute_that_gives_their_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    with ProgressReporter(Tally(), now=clock) as reporter:
        for row in range(216):
            reporter.warn(f"row {row}: broken; looking")
            reporter.note("not told")
        assert told(capsys) == ["warning: row 0: broken; looking"]
        clock.now += MINUTE - 1
        reporter.tick()
        assert not [line for line in told(capsys) if "warning" in line]
        clock.now += 1
        reporter.tick()
        assert told(capsys) == ["warning: row 215: broken; looking (and 214 more like it)"]
        reporter.warn("row 216: broken; looking")
        reporter.error("row 5 may be charged")
        reporter.error("row 6 may be charged")
        assert told(capsys) == ["error: row 5 may be charged", "error: row 6 may be charged"]
    assert told(capsys) == ["warning: row 216: broken; looking"]


# Kinds


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("prediction 7xk2mzq1v5rmc0cgh3kv was lost", "prediction 91f0qd2ehdrme0cgh3ktq8 was lost"),
        ("the job 'cats/1' is held", "the job 'my other dog' is held"),
        ("uploading cat12.png", "uploading dog-7.png"),
        ("trying again in 0.25 s", "trying again in 12 s"),
        (
            "GET https://api.replicate.com/v1/predictions/a1: reset",
            "GET https://api.replicate.com/v1/predictions/b2: reset",
        ),
        ("`replicate-job wait a1` goes on", "`replicate-job wait b2` goes on"),
    ],
)
def test_lines_that_differ_only_in_numbers_ids_and_keys_are_of_one_kind(line: str, other: str) -> None:
    assert kind_of(line) == kind_of(other)


def test_lines_with_different_words_are_of_different_kinds() -> None:
    lines = ["row 1: refused", "row 1: reset", "the API's answer to row 1 isn't JSON", "the API's row 1 isn't there"]
    assert len(set(map(kind_of, lines))) == len(lines)


def word(number: int) -> str:
    """A different word for each number, without a digit."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def test_kinds_of_warnings_beyond_twenty_a_minute_are_counted_in_one_line() -> None:
    heard = Repeats()
    assert sum(heard.is_new(word(each), 0) for each in range(1_000)) == KINDS
    assert heard.due(MINUTE - 1) == []
    assert heard.due(MINUTE) == ["980 more, of other kinds: -v shows each"]
    assert heard.is_new("news", MINUTE)
    assert heard.due(2 * MINUTE) == []


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 40)), max_size=200))
def test_every_line_is_counted_and_a_minute_shows_at_most_twenty(steps: list[tuple[float, int]]) -> None:
    heard, now = Repeats(), 0.0
    at: list[float] = []
    accounted = 0

    def tell(lines: list[str]) -> None:
        nonlocal accounted
        for line in lines:
            more = re.search(r"(?:and )?([\d,]+) more(,?)", line)
            accounted += int(more[1].replace(",", "")) + (not more[2]) if more else 1
            if not (more and more[2]):
                at.append(now)

    for passed, number in steps:
        now += passed
        tell(heard.due(now))
        if heard.is_new(word(number), now):
            tell([word(number)])
    assert all(later - first >= MINUTE for first, later in zip(at, at[KINDS:], strict=False))
    tell(heard.due(float("inf")))
    assert accounted == len(steps)


def test_the_kind_of_a_long_line_depends_on_its_beginning_only() -> None:
    assert kind_of("refused: " + "x" * repeats._BEGINNING + "a") == kind_of("refused: " + "x" * 10**7)  # noqa: SLF001 - the test needs its length


# The block of a terminal


def drawn(tally: Tally, width: int, *, age: float = 60.0, color: bool = True) -> list[str]:
    """The lines of the block, with their control sequences."""
    speed = Speed(0)
    speed.update(tally, age)
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system="standard", no_color=not color)
    console.print(Block(tally, speed), end="")
    return file.getvalue().removesuffix("\n").split("\n")


def bare(lines: list[str]) -> list[str]:
    return [CONTROL.sub("", line) for line in lines]


def test_a_wide_terminal_shows_all_parts_of_the_progress_line() -> None:
    bar, facts = bare(drawn(busy(pace=10.0), 120, age=125))
    assert re.fullmatch(r"[━╸╺]{40}  1,250/10,000  15 min left", bar)
    assert facts == "12 failed  430 running  8,320 waiting  600/min  limit 600/min  1h 2m predict time"


def test_a_terminal_with_80_columns_shows_all_parts_of_the_progress_line() -> None:
    tally = busy(pace=10.0, predict_time=600)
    assert bare(drawn(tally, 80, age=125)) == bare(drawn(tally, 120, age=125))


def test_a_narrow_terminal_leaves_out_the_last_parts_of_the_progress_line_first() -> None:
    bar, facts = bare(drawn(busy(pace=10.0), 40, age=125))
    assert re.fullmatch(r"[━╸╺]{13}  1,250/10,000  15 min left", bar)
    assert facts == "12 failed  430 running  8,320 waiting"
    bar, facts = bare(drawn(busy(pace=10.0), 30, age=125))
    assert re.fullmatch(r"[━╸╺]{16}  1,250/10,000", bar)
    assert facts == "12 failed  430 running"
    assert bare(drawn(busy(), 20)) == ["1,250/10,000", "12 failed"]


def test_a_part_of_the_progress_line_that_does_not_fit_leaves_out_all_parts_after_it() -> None:
    assert fit(["aaaa", "", "bbbb", "c"], 8) == ["aaaa"]
    assert fit(["aaaa", "", "bbbb", "c"], 10) == ["aaaa", "bbbb"]


def test_without_a_total_there_is_no_progress_bar() -> None:
    assert bare(drawn(busy(total=None), 80))[0] == "1,250 done"


def test_a_throttled_batch_shows_the_wait_instead_of_the_rate_limit() -> None:
    assert "  throttled, 12 s  1h 2m" in bare(drawn(busy(pace=10.0, paused=11.5), 100))[1]


def test_the_number_of_failures_is_red_and_is_left_out_if_it_is_zero() -> None:
    assert drawn(busy(), 80)[1].startswith("\x1b[31m12 failed\x1b[0m  430 running")
    assert not COLOR.search(drawn(busy(failed=0), 80)[1])


def test_the_progress_bar_is_equally_wide_with_and_without_colors() -> None:
    lines = drawn(busy(pace=10.0), 80, age=125, color=False)
    assert not COLOR.search("".join(lines))
    assert bare(lines)[0] == "━" * 5 + " " * 35 + "  1,250/10,000  15 min left"


counts = st.integers(0, 10**9)
tallies = st.builds(
    Tally,
    total=st.none() | counts,
    waiting=counts,
    running=counts,
    succeeded=counts,
    failed=counts,
    pace=st.none() | st.just(0.0) | st.floats(1e-6, 1e6),
    paused=st.floats(0, 1e5),
    predict_time=st.floats(0, 1e12),
)


@given(tallies, st.integers(1, 130), st.booleans())
def test_the_block_always_is_two_lines_within_the_width(tally: Tally, width: int, color: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    lines = bare(drawn(tally, width, color=color))
    assert len(lines) == 2
    assert all(len(line) <= width for line in lines)


# A real terminal

BATCH = """
import asyncio
from replicate_job.cli.reporters import open_progress
from replicate_job.batches.progress import Tally

tally = Tally(total=1_000, running=30, waiting=8, pace=10.0)

async def main():
    with open_progress(tally, verbose=False, quiet={quiet}) as reporter:
        beating = asyncio.create_task(reporter.beat())
        for row in range(30):
            tally.succeeded += 5
            tally.failed += 1
            reporter.warn(f"row {{row}}: broken; looking")
            await asyncio.sleep(0.02)
        reporter.error("p could not be canceled")
        beating.cancel()

asyncio.run(main())
"""


def on_terminal(width: int, *, quiet: bool = False, **environment: str) -> str:
    """Run a batch of 0.6 s with its stderr on a terminal. Return what the terminal gets."""
    own, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", BATCH.format(quiet=quiet)],
        env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=side,
    )
    os.close(side)
    shown = b""
    with suppress(OSError):  # Linux raises EIO at the end of a terminal
        while part := os.read(own, 65536):
            shown += part
    os.close(own)
    assert process.wait(30) == 0, shown.decode()
    return shown.decode()


@pytest.mark.long
@pytest.mark.parametrize("width", [1, 40, 80])
def test_the_progress_block_disappears_at_the_end_and_the_lines_above_it_stay(width: int) -> None:
    shown = on_terminal(width)
    kept = re.split(r"[\r\n]+", CONTROL.sub("", shown))
    assert "warning: row 0: broken; looking" in kept
    assert "error: p could not be canceled" in kept
    assert "warning: row 29: broken; looking (and 28 more like it)" in kept
    assert width == 1 or re.search(r"[━╸╺]+  \d+/1,000", CONTROL.sub("", shown))
    assert shown.rstrip("\r\n").endswith("\x1b[2K")  # the block is erased
    assert "\x1b[?25h" in shown  # and the cursor is back


@pytest.mark.long
def test_the_variable_no_color_turns_colors_off() -> None:
    assert COLOR.search(on_terminal(80))
    assert not COLOR.search(on_terminal(80, NO_COLOR="1"))


def test_with_quiet_nothing_is_drawn() -> None:
    assert on_terminal(80, quiet=True) == "error: p could not be canceled\r\n"


@pytest.mark.long
def test_a_terminal_of_type_dumb_gets_plain_lines() -> None:
    shown = on_terminal(80, TERM="dumb")
    assert "\x1b" not in shown
    assert shown.startswith("warning: row 0: broken; looking\r\n")


def test_without_a_terminal_progress_is_written_as_plain_lines_and_rich_is_not_imported() -> None:
    program = BATCH.format(quiet=False) + "import sys; print('rich' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == "False\n"
    assert ended.stderr.splitlines() == [
        "warning: row 0: broken; looking",
        "error: p could not be canceled",
        "warning: row 29: broken; looking (and 28 more like it)",
    ]
