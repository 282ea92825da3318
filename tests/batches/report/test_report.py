"""The report of a batch, as a browser would read it."""

from __future__ import annotations

import math
import re
import tracemalloc
from base64 import b64encode
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.batches.report import gallery, write_report
from replicate_job.batches.report.axis import duration_ticks, number_ticks, time_ticks
from replicate_job.batches.report.card import LIMIT as CARDS
from replicate_job.batches.report.card import prompt_of
from replicate_job.batches.report.series import LIMIT as BINS
from replicate_job.batches.report.series import Distribution, Series
from replicate_job.batches.results.record import encode, to_record
from replicate_job.errors import JobError, OutputError
from replicate_job.job import Result
from replicate_job.pricing.charge import Charge

Make = Callable[..., Result]
VOID = {"meta", "img", "br"}
TAGS = {"html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "article", "div"}
TAGS |= {"h1", "h2", "p", "pre", "code", "ul", "li", "dl", "dt", "dd", "a", "img", "br", "figure", "figcaption"}
TAGS |= {"table", "thead", "tbody", "tr", "th", "td", "svg", "rect", "path", "line", "text"}
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;</style>"


class Page(HTMLParser):
    """Tags and text of a page. It checks that every element is closed in the right place."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text, self.style, self.open, self.balanced = "", "", [""], True
        self.html = path.read_text("utf-8")
        self.feed(self.html)
        self.balanced = self.balanced and self.open == [""]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        self.balanced = self.balanced and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] == "style":
            self.style += data
        else:
            self.text += data

    def all(self, tag: str, name: str) -> list[str]:
        return [attributes[name] for name_of_tag, attributes in self.tags if name_of_tag == tag and name in attributes]


def page(folder: Path, results: Iterable[Result], title: str = "a batch", command: str = "") -> Page:
    path = folder / "results.jsonl"
    path.write_bytes(encode(to_record(result, folder) for result in results))
    write_report(path, folder / "report.html", title=title, command=command)
    parsed = Page(folder / "report.html")
    assert parsed.balanced
    return parsed


def at(second: float) -> str:
    return (datetime(2025, 3, 14, 10, tzinfo=UTC) + timedelta(seconds=second)).isoformat()


def test_a_report_without_results_says_that_there_are_none(tmp_path: Path) -> None:
    parsed = page(tmp_path, [])

    assert "No row has a result yet." in parsed.text
    assert "svg" not in [tag for tag, _ in parsed.tags]


def test_one_result_is_shown_without_plots_over_time(make: Make, tmp_path: Path) -> None:
    parsed = page(tmp_path, [make(1)])

    assert "1 row, 14 March 2025, 10:00 UTC" in parsed.text
    assert "2.5 s" in parsed.text
    assert [attributes.get("class") for tag, attributes in parsed.tags if tag == "svg"] == ["share"]


def test_a_batch_that_failed_shows_its_errors_and_no_grid(make: Make, tmp_path: Path) -> None:
    parsed = page(
        tmp_path, [make(n, status="failed", error=f"no file{n}.png", completed_at=at(n)) for n in range(1, 31)]
    )

    assert "no file1.png" in parsed.text
    assert "1, 2, 3, 4, 5, …" in parsed.text
    assert "Throughput" in parsed.text
    assert "Latency" not in parsed.text
    assert "article" not in [tag for tag, _ in parsed.tags]


def test_the_report_page_loads_nothing_from_any_other_address(make: Make, tmp_path: Path) -> None:
    parsed = page(tmp_path, [make(n, completed_at=at(n), output=f"text {n}") for n in range(1, 50)])

    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "object", "base", "form"}
    assert not [
        name for _, attributes in parsed.tags for name in attributes if name.startswith("on") or name == "style"
    ]
    assert "url(" not in parsed.style
    assert "@import" not in parsed.style
    (policy,) = parsed.all("meta", "content")[:1]
    digest = b64encode(sha256(parsed.style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self' file: data:;")


def test_text_in_a_result_never_becomes_markup_or_a_link(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / 'x"><b>'
    folder.mkdir()
    (folder / 'a"><script>.png').write_bytes(b"hi")
    (folder / 'a"><script>.zip').write_bytes(b"hi")
    results = [
        make(1, input={"prompt": EVIL}, output=EVIL),
        make(2, input={"prompt": EVIL}, files=(folder / 'a"><script>.png', folder / 'a"><script>.zip')),
        make(3, output="javascript:alert(1)"),
        make(4, output=["https://replicate.delivery/x/" + EVIL.replace(" ", "")]),
        make(5, status="failed", error=EVIL),
        make(6, status=EVIL),
        make(7, output={EVIL: EVIL}),
        make(8, output="data:text/html,<script>alert(1)</script>"),
        make(9, files=(folder / f"gone{EVIL.replace('/', '')}.png",)),
    ]
    parsed = page(folder, [*results, *(make(n, completed_at=at(n)) for n in range(10, 40))], title=EVIL, command=EVIL)

    assert {tag for tag, _ in parsed.tags} <= TAGS
    assert not [
        name for _, attributes in parsed.tags for name in attributes if name.startswith("on") or name == "style"
    ]
    assert all(link.startswith(("./", "https://replicate.delivery/")) for link in parsed.all("a", "href"))
    assert parsed.text.count("alert(1)") >= 8


def test_a_small_picture_is_embedded_and_a_large_picture_is_linked_to(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "out 100% #1?"
    folder.mkdir()
    small, large = folder / "small.png", folder / "é large.webp"
    small.write_bytes(b"hi")
    large.write_bytes(b"x" * (gallery.LARGEST + 1))
    parsed = page(tmp_path, [make(1, files=(small,)), make(2, files=(large,))])

    first, second = parsed.all("img", "src")
    assert first == "data:image/png;base64,aGk="
    assert [unquote(source) for source in (second, *parsed.all("a", "href"))] == [
        "./out 100% #1?/é large.webp",
        "./out 100% #1?/small.png",
        "./out 100% #1?/é large.webp",
    ]
    assert not {"?", "#", " "} & set(second)
    assert parsed.all("img", "alt") == ["a cat", "a cat"]


def test_pictures_are_embedded_up_to_a_total_size(make: Make, tmp_path: Path) -> None:
    content = b"x" * gallery.LARGEST
    paths = [tmp_path / f"{number}.png" for number in range(40)]
    for path in paths:
        path.write_bytes(content)
    parsed = page(tmp_path, [make(line, files=(path,)) for line, path in enumerate(paths, 1)])

    embedded = [source for source in parsed.all("img", "src") if source.startswith("data:")]
    assert len(embedded) == gallery.TOTAL // len(embedded[0])
    assert len(parsed.all("img", "src")) == 40


def test_audio_and_video_have_players_and_documents_have_links(make: Make, tmp_path: Path) -> None:
    for name in ("a.mp3", "b.mp4", "c.pdf", "d.html", "e.svg"):
        (tmp_path / name).write_bytes(b"x")
    parsed = page(tmp_path, [make(n, files=(tmp_path / name,)) for n, name in enumerate(("a.mp3", "b.mp4", "c.pdf"))])
    assert (parsed.all("audio", "src"), parsed.all("video", "src")) == (["./a.mp3"], ["./b.mp4"])
    assert parsed.all("a", "href") == ["./a.mp3", "./b.mp4", "./c.pdf"]

    unsafe = page(tmp_path, [make(1, files=(tmp_path / "d.html", tmp_path / "e.svg", tmp_path / "c.pdf"))])
    assert unsafe.all("a", "href") == ["./c.pdf"]
    assert "d.html" in unsafe.text


def test_an_output_in_an_object_store_is_shown_by_its_url(make: Make, tmp_path: Path) -> None:
    shown = page(tmp_path, [make(files=(f"s3://bucket/{EVIL}.png", "s3://bucket/b.png"))])
    assert f"s3://bucket/{EVIL}.png" in shown.text
    assert "s3://bucket/b.png" in shown.text
    assert not shown.all("img", "onerror")
    assert "Files2" in "".join(shown.text.split())
    assert "0 B" not in shown.text


def test_links_to_files_are_relative_to_the_report(make: Make, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.zip").write_bytes(b"x")
    results = tmp_path / "results.jsonl"
    results.write_bytes(encode([to_record(make(1, files=(tmp_path / "out" / "a.zip",)), tmp_path)]))
    write_report(results, tmp_path / "new" / "sub" / "report.html", title="x")

    assert Page(tmp_path / "new" / "sub" / "report.html").all("a", "href") == ["./../../out/a.zip"]


def test_the_pictures_in_the_grid_come_from_the_whole_batch(make: Make, tmp_path: Path) -> None:
    lines = [n * 2003 % 5003 for n in range(1, 5001)]  # each line once, in a scattered order: 2003 and 5003 are coprime
    parsed = page(tmp_path, [make(line, completed_at=at(n / 10)) for n, line in enumerate(lines)])

    shown = [int(label.removeprefix("Line ")) for label in parsed.all("article", "aria-label")]
    assert len(shown) == CARDS
    assert shown == sorted(shown)
    where = sorted(lines.index(line) for line in shown)
    assert where[0] < 100
    assert where[-1] > 4900
    assert "60 of 5,000" in parsed.text


@pytest.mark.long
def test_memory_does_not_grow_with_the_batch(make: Make, tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        results = tmp_path / "results.jsonl"
        padding = "x" * 2000
        with results.open("wb") as file:
            for n in range(rows):
                status = "failed" if n % 3 else "succeeded"
                row = make(n, status=status, output=padding, error=f"{n} {chr(97 + n % 26)}", completed_at=at(n * 7))
                file.write(encode([to_record(row, tmp_path)]))
        tracemalloc.start()
        write_report(results, tmp_path / "report.html", title="x")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)
    assert peak(6000) < peak(1500) * 1.3


def test_impossible_times_are_ignored(make: Make, tmp_path: Path) -> None:
    odd = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "soon", ""]
    results = [make(n, completed_at=time) for n, time in enumerate(odd, 1)]
    parsed = page(tmp_path, [*results, *(make(n, completed_at=at(n)) for n in range(5, 30))])

    assert "Throughput over time" in "".join(parsed.all("svg", "aria-label"))


def test_a_bar_of_the_plot_shows_the_predictions_that_ended_in_its_own_span_and_no_rate_per_minute(
    make: Make, tmp_path: Path
) -> None:
    page(tmp_path, [make(n, completed_at=at(n * 7)) for n in range(1, 13)])
    text = (tmp_path / "report.html").read_text()
    assert "ended in 8 s" in text
    assert "ended a minute" not in text
    assert "1 in 8 s: 1 succeeded" in text


def test_the_label_of_the_last_time_on_an_axis_stays_within_its_card(make: Make, tmp_path: Path) -> None:
    labels = []
    for many in range(40, 64):
        page(tmp_path, [make(n, completed_at=at(n)) for n in range(1, many)])
        labels += re.findall(r'<text class="(time[^"]*)" x="([\d.]+)%"', (tmp_path / "report.html").read_text())
    assert {("last" in kind, float(x) > 95) for kind, x in labels} == {(True, True), (False, False)}


def test_a_report_that_cannot_be_written_or_has_no_results_raises_a_one_line_error(make: Make, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="cannot be read"):
        write_report(tmp_path / "none.jsonl", tmp_path / "report.html", title="x")
    page(tmp_path, [make(1)])
    with pytest.raises(OutputError, match="cannot be written: "):
        write_report(tmp_path / "results.jsonl", tmp_path / "results.jsonl" / "report.html", title="x")
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        write_report(tmp_path / "results.jsonl", tmp_path, title="x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "results.jsonl"]


def test_a_card_shows_the_prompt_or_else_the_longest_text_that_is_not_a_url() -> None:
    inputs = {
        "seed": 1,
        "image": "https://a.b/c.png",
        "mask": "data:image/png;base64,AA",
        "empty": " ",
        "text": "hello",
    }

    assert prompt_of(inputs) == "hello"
    assert prompt_of({"n": 1}) == ""
    assert prompt_of({"aspect_ratio": "16:9", "text": "a fox in snow"}) == "a fox in snow"
    assert prompt_of({"negative_prompt": "no people at all", "prompt": "a fox"}) == "a fox"


@given(st.lists(st.floats(0.001, 1e6), min_size=1), st.lists(st.floats(0.001, 1e6)), st.floats(0, 1))
def test_quantiles_are_right_to_one_percent_also_when_merged(
    some: list[float], others: list[float], part: float
) -> None:
    first, second = Distribution(), Distribution()
    for value in some:
        first.add(value)
    for value in others:
        second.add(value)
    first.merge(second)
    exact = sorted(some + others)[max(1, math.ceil(part * len(some + others))) - 1]

    assert first.quantile(part) == pytest.approx(exact, rel=0.0101)


@given(st.lists(st.floats(1e9, 1e9 + 1e7), min_size=1, max_size=300))
def test_bins_count_every_prediction_and_stay_within_their_limit(times: list[float]) -> None:
    series = Series()
    for number, time in enumerate(times):
        series.add(time, 1.0, succeeded=number % 2 == 0)
        assert len(series.span) <= BINS
    series.settle()

    assert sum(item.succeeded + item.other for item in series.bins.values()) == len(times)
    assert sum(item.latency.number for item in series.bins.values()) == (len(times) + 1) // 2
    assert set(series.bins) <= set(series.span)
    assert {math.floor(time / series.width) for time in times} == set(series.bins)


@given(st.floats(1e-3, 1e9))
def test_ticks_reach_the_largest_value_in_few_round_steps(most: float) -> None:
    for ticks in (number_ticks(most), duration_ticks(min(most, 1e8))):
        values = [tick.value for tick in ticks]
        assert values[0] == 0
        assert values[-1] >= min(most, 1e8) * (1 - 1e-6)
        assert 2 <= len(values) <= 6
        assert len({tick.label for tick in ticks}) == len(ticks)


@given(st.floats(1e9, 4e9), st.floats(1, 1e8))
def test_ticks_of_time_are_few_and_within_the_axis(start: float, span: float) -> None:
    ticks = time_ticks(start, start + span)

    assert len(ticks) <= 7
    assert all(start <= tick.value <= start + span for tick in ticks)


def test_a_tick_at_midnight_names_the_day() -> None:
    night = datetime(2025, 3, 15, tzinfo=UTC).timestamp()

    assert [tick.label for tick in time_ticks(night - 3600, night + 3600)] == [
        "23:00",
        "23:30",
        "15 Mar",
        "00:30",
        "01:00",
    ]


def test_the_report_shows_the_cost_as_an_estimate(make: Make, tmp_path: Path) -> None:
    priced = [make(line, price=Charge(Decimal("0.25"), "learned", excludes="idle time")) for line in (1, 2)]
    text = page(tmp_path, [*priced, make(3)]).text
    assert "Cost$0.50an estimate, of 2 rows, without idle time" in text
    assert "Cost" not in page(tmp_path, [make()]).text
