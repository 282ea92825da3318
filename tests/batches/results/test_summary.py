"""The counts of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.batches.results.cause import DISTINCT, pattern
from replicate_job.batches.results.spans import PAUSE, Spans
from replicate_job.batches.results.summary import Summary
from replicate_job.job import Result
from replicate_job.pricing.charge import Charge
from replicate_job.quantity import duration, one_line, per, rounded, size

Make = Callable[..., Result]


def summed(results: list[Result]) -> Summary:
    summary = Summary()
    for result in results:
        summary.add(result)
    return summary


def test_a_summary_is_a_few_lines(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x" * 1200)
    results = [make(line, files=(tmp_path / "a.png",)) for line in range(1, 4)]
    results += [
        make(4, status="failed", error="file abc123.png not found", metrics={}),
        make(5, status="failed", error="CUDA out of memory", metrics={"predict_time": 5000.0}),
        make(6, status="failed", error="file def456.png not found", metrics={}),
        make(7, status="canceled", metrics={}),
        Result("", "error", "", {}, line=8, problem="prompt is missing"),
    ]

    assert summed(results).lines() == [
        "8 rows: 3 succeeded, 3 failed, 1 canceled, 1 error; 1h 23m predict time, 3 files (3.6 kB)",
        "  2 × file abc123.png not found (as in line 4)",  # noqa: RUF001 - times
        "  1 × CUDA out of memory (line 5)",  # noqa: RUF001 - times
        "  1 × prompt is missing (line 8)",  # noqa: RUF001 - times
    ]


def test_the_cost_line_has_the_sum_the_number_of_rows_and_the_exclusions(make: Make) -> None:
    known = [make(line, price=Charge(Decimal("0.1"), "table")) for line in (1, 2, 3)]
    assert ", about $0.30, no files" in summed(known).lines()[0]
    idle = make(4, price=Charge(Decimal("0.7"), "learned", excludes="idle time"))
    assert ", about $1.00 for 4 of them without idle time, no" in summed([*known, idle, make(5)]).lines()[0]
    assert "$" not in summed([make()]).lines()[0]


def test_objects_in_a_store_are_counted_without_a_size(make: Make) -> None:
    assert summed([make(files=("s3://bucket/a.png",))]).lines()[0].endswith(", 1 file")


def test_a_summary_of_no_rows_says_that_there_were_none() -> None:
    assert Summary().lines() == ["no rows"]


def test_a_success_whose_outputs_could_not_be_saved_has_an_error(make: Make) -> None:
    summary = summed([make(1, problem="the disk is full")])

    assert summary.statuses == {"succeeded without its files": 1}
    assert [cause.text for cause in summary.causes] == ["the disk is full"]


@pytest.mark.parametrize(
    ("error", "other"),
    [
        ("file abc123.png not found", "file def456.png not found"),
        ("img1 is too large", "img12 is too large"),
        ("GET https://a.b/c?d=1 broke", "GET http://x.y broke"),
        ("'cat' is not one of ['a']", "'big dog' is not one of ['a']"),
        ('unknown input "sede"', 'unknown input "promt"'),
        ("Tried to allocate 2.50 GiB", "Tried to allocate 512 GiB"),
        ("at 0xdeadbeef", "at 0x7f00aa"),
        ("commit deadbeefcafe", "commit abcdefabcdef"),
        ("cannot open /tmp/cat.png", "cannot open ../dog.png"),
        ("took  1.5s\n", "took 22s"),
        ("data:image/png;base64,AAAA is wrong", "data:text/plain,b is wrong"),
    ],
)
def test_errors_that_differ_only_in_particulars_have_one_cause(error: str, other: str) -> None:
    assert pattern(error) == pattern(other)


@pytest.mark.parametrize(
    ("error", "other"),
    [
        ("HTTP 402: pay", "HTTP 500: pay"),
        ("prompt is missing", "image is missing"),
        ("it can't be read and won't do", "it can't be opened and won't do"),
    ],
)
def test_errors_of_different_kinds_have_two_causes(error: str, other: str) -> None:
    assert pattern(error) != pattern(other)


def test_errors_beyond_the_limit_are_counted_together(make: Make) -> None:
    words = ["".join(chr(ord("g") + int(digit)) for digit in f"{number:03}") for number in range(DISTINCT + 10)]
    summary = summed([make(line, status="failed", error=word) for line, word in enumerate(words, 1)])
    causes = list(summary.causes)

    assert len(causes) == DISTINCT + 1
    assert (causes[-1].text, causes[-1].count, causes[-1].lines[0]) == ("other errors", 10, DISTINCT + 1)
    assert sum(cause.count for cause in causes) == len(words)


def test_the_summaries_of_two_batches_in_one_process_share_nothing(make: Make) -> None:
    first, second = (summed([make(1, status="failed", error="x")]) for _ in range(2))

    assert [cause.lines for cause in first.causes] == [cause.lines for cause in second.causes] == [[1]]


def test_an_error_is_one_line_without_control_characters(make: Make) -> None:
    summary = summed(
        [make(1, status="failed", error="\x1b[2Jgone\n\nnow\u202e " + "word " * 999), make(2, status="\x1b[m")]
    )

    first, second = summary.lines()
    assert "1 \\u001b[m" in first
    assert second.startswith("  1 × \\u001b[2Jgone now\\u202e word")  # noqa: RUF001 - times
    assert 1900 < len(second) < 2100
    assert len(summary.lines(columns=90)[1]) == 90
    assert summary.lines(columns=90)[1].endswith("… (line 1)")


def test_a_terminal_of_usual_width_shows_everything_that_a_stand_in_model_left_out(make: Make) -> None:
    left_out = f"a card: it can't paint {', '.join(['astronaut'] * 12)}"
    summary = summed([make(1, stand_in=f"not FLUX; {left_out}")])
    assert summary.lines(columns=100)[2] == f"  and left something out of 1: {left_out} (line 1)"
    assert len(summary.lines(columns=0)[2]) > 40  # a terminal that says that it has no columns, as in a container
    assert len(summed([make(1, stand_in=f"not FLUX; {left_out * 9}")]).lines(columns=100)[2]) == 300


@pytest.mark.parametrize("error", [None, {"detail": "x"}, ["a"], 5])
def test_a_failure_always_has_a_cause(make: Make, error: Any) -> None:
    assert len(list(summed([make(1, status="failed", error=error)]).causes)) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, "3", None, True, 10**400, 1e300, [1]])
def test_a_predict_time_that_is_not_a_number_of_seconds_is_not_added(make: Make, value: Any) -> None:
    assert summed([make(1), make(2, metrics={"predict_time": value})]).predict_time == 2.0


def test_the_first_and_the_last_time_do_not_depend_on_the_order_of_results(make: Make) -> None:
    times = ["2025-03-14T10:00:05Z", "2025-03-14T09:00:00+00:00", "2025-03-14T12:30:00+02:00", "nonsense", None]
    summary = summed([make(1, created_at=time, completed_at=time) for time in times])

    assert summary.first == datetime(2025, 3, 14, 9, tzinfo=UTC)
    assert summary.last == datetime(2025, 3, 14, 10, 30, tzinfo=UTC)
    assert summary.wall_time == 0  # a moment each, with pauses between them
    assert summary.spans.pauses == 5400
    assert summed([make(1, created_at=None)]).wall_time is None


def test_wall_time_excludes_the_pause_before_a_batch_is_resumed(make: Make) -> None:
    start = datetime(2025, 3, 14, 9, tzinfo=UTC).timestamp()

    def row(second: float, took: float = 10) -> Result:
        times = (datetime.fromtimestamp(start + at, UTC).isoformat() for at in (second, second + took))
        return make(1, created_at=next(times), completed_at=next(times))

    evening = [row(second) for second in range(0, 600, 30)]  # a prediction, and 20 s until the next
    morning = [row(12 * 3600 + second) for second in range(0, 600, 30)]
    assert summed(evening).wall_time == 580
    for order in (evening + morning, morning + evening):
        summary = summed(order)
        assert summary.wall_time == 1160
        assert summary.spans.pauses == 12 * 3600 - 580
    assert summed([row(0, 12 * 3600), *morning]).wall_time == 12 * 3600 + 580
    assert summed([row(0), row(100, -50)]).wall_time == 10  # a clock that was set back


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 300)), min_size=1, max_size=60))
def test_work_and_pauses_add_up_as_a_simple_count_does(rows: list[tuple[int, int]]) -> None:
    spans = Spans()
    for start, length in rows:
        spans.add(start, start + length)
    work, last = 0, -1
    for start, end in sorted((start, start + length) for start, length in rows):
        if last >= 0 and start - last <= PAUSE:
            work += max(0, end - last)
        else:
            work += end - start
        last = max(last, end)
    whole = last - min(start for start, _ in rows)
    assert (spans.work, spans.pauses) == (work, whole - work)


def test_memory_does_not_grow_with_the_number_of_pauses() -> None:
    spans = Spans()
    for number in range(20_000):
        spans.add(number * 100, number * 100 + 1)
    assert len(spans._starts) <= 1000  # noqa: SLF001 - what takes the memory
    assert spans.work + spans.pauses == 19_999 * 100 + 1


def test_memory_does_not_grow_with_the_number_of_statuses(make: Make) -> None:
    summary = summed([make(line, status=f"s{line}") for line in range(1000)])

    assert len(summary.statuses) < 30
    assert summary.rows == 1000


def test_durations_are_written_for_people() -> None:
    expected = {
        0: "0 s",
        0.0004: "0.4 ms",
        0.45: "450 ms",
        0.9996: "1 s",
        3.21: "3.2 s",
        59.96: "1m",
        60: "1m",
        725: "12m 5s",
    }
    expected |= {3599.7: "1h", 4980: "1h 23m", 7260.4: "2h 1m", 86400: "1d", 183_600: "2d 3h", 1e9: "11574d 1h"}

    assert {seconds: duration(seconds) for seconds in expected} == expected


def test_sizes_and_rates_are_written_for_people() -> None:
    expected = {
        0: "0 B",
        999: "999 B",
        1000: "1.0 kB",
        1_234_567_890: "1.2 GB",
        52_400_000: "52 MB",
        10**20: "100000 PB",
    }
    assert {number: size(number) for number in expected} == expected
    assert [per(pace) for pace in (5, 1, 0.01, 0.0001, 0)] == [
        (1, "a second"),
        (60, "a minute"),
        (3600, "an hour"),
        (86400, "a day"),
        (86400, "a day"),
    ]
    assert [rounded(number) for number in (1234.5, 99.94, 0.1)] == ["1,234", "99.9", "0.1"]
    assert one_line("a" * 50, 10) == "a" * 9 + "…"
