"""Plots of a batch over time, as SVG that fits any width.

Curves have coordinates from 0 to 1000, which are stretched to the plot's size. Text and grid must keep their shape, so
they are placed in percent outside of the stretched part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise

import msgspec

from replicate_job.batches.report.axis import Tick, duration_ticks, number_ticks, time_ticks
from replicate_job.batches.report.series import Bin, Series
from replicate_job.quantity import duration, per, rounded

_SIDE = 1000
_LAST = 0.95
"""The label of a time beyond this part of the width ends at the time, since a centred label would not fit."""

_Point = tuple[float, float]


class Plot(msgspec.Struct, frozen=True):
    """A plot. ``note`` describes the vertical axis; ``legend`` has the CSS class and the name of each curve."""

    title: str
    note: str
    legend: tuple[tuple[str, str], ...]
    svg: str


class _Scale:
    """Converts a bin's number to the x coordinate, and a value to the y coordinate. The y axis points down."""

    def __init__(self, series: Series, top: float) -> None:
        self._start, self._bins, self._top = series.span.start, len(series.span), top

    def x(self, number: float) -> float:
        return (number - self._start) / self._bins * _SIDE

    def y(self, value: float) -> float:
        return (1 - min(value / self._top, 1)) * _SIDE

    def level(self, run: Sequence[int], values: Sequence[float]) -> list[_Point]:
        """A point in the middle of each bin; for a single bin, a line of the bin's width."""
        if len(run) == 1:
            return [(self.x(run[0]), self.y(values[0])), (self.x(run[0] + 1), self.y(values[0]))]
        return [(self.x(number + 0.5), self.y(value)) for number, value in zip(run, values, strict=True)]

    def steps(self, values: Sequence[float]) -> list[_Point]:
        """Points along the top of every bin."""
        width = _SIDE / self._bins
        return [
            (x, self.y(value))
            for index, value in enumerate(values)
            for x in (round(index * width, 1), (index + 1) * width)
        ]


def plot_latency(series: Series) -> Plot | None:
    """The median latency as a line, in a band from the fastest to the 95th percentile. None if no latency is known."""
    known = {number: item.latency for number, item in sorted(series.bins.items()) if item.latency.number}
    if not known:
        return None
    high = {number: latency.quantile(0.95) for number, latency in known.items()}
    ticks = duration_ticks(max(high.values()))
    scale = _Scale(series, ticks[-1].value)
    curves = []
    # A gap in the bins is a gap in the curve. A line across the gap would show latencies that were not measured.
    for run in _runs(list(known)):
        upper = scale.level(run, [high[number] for number in run])
        lower = scale.level(run, [known[number].least for number in run])
        middle = scale.level(run, [known[number].quantile(0.5) for number in run])
        curves.append(f'<path class="band" d="{_path([*upper, *reversed(lower)])}Z"/>')
        curves.append(f'<path class="line" d="{_path(middle)}"/>')
    legend = (("line", "median"), ("band", "fastest to 95th percentile"))
    label = f"Latency over time, from 0 to {ticks[-1].label}"
    return Plot("Latency", "of what succeeded", legend, _frame(label, series, ticks, curves, _describe_latency))


def plot_throughput(series: Series) -> Plot:
    """The number of predictions that ended in each unit of time: those that succeeded, and above them the others."""
    most = max(item.succeeded + item.other for item in series.bins.values()) / series.width
    seconds, unit = float(per(most)[0]), per(most)[1]
    if seconds > series.width:  # the unit is longer than a bin: one prediction in 8 s must not become 7.5 a minute
        seconds, unit = series.width, f"in {duration(series.width)}"
    factor = seconds / series.width
    ticks = number_ticks(most * seconds)
    scale = _Scale(series, ticks[-1].value)
    empty = Bin()
    bins = [series.bins.get(number, empty) for number in series.span]
    good = [item.succeeded * factor for item in bins]
    every = [(item.succeeded + item.other) * factor for item in bins]
    layers = [("good", "succeeded", good, [0.0] * len(bins)), ("bad", "failed or canceled", every, good)]
    # A layer without a height would still be in the legend.
    layers = [layer for layer in layers if layer[2] != layer[3]]
    curves = [
        f'<path class="{name}" d="{_path([*scale.steps(upper), *reversed(scale.steps(lower))])}Z"/>'
        for name, _, upper, lower in layers
    ]

    def describe(item: Bin) -> str:
        rate = f"{rounded((item.succeeded + item.other) * factor)} {unit}"
        return f"{rate}: {item.succeeded:,} succeeded" + (f", {item.other:,} did not" if item.other else "")

    legend = tuple((name, words) for name, words, *_ in layers)
    label = f"Throughput over time, from 0 to {ticks[-1].label} {unit}"
    return Plot("Throughput", f"ended {unit}", legend, _frame(label, series, ticks, curves, describe))


def _runs(numbers: list[int]) -> Iterator[list[int]]:
    """The numbers of the bins, in runs without a gap."""
    run = numbers[:1]
    for before, number in pairwise(numbers):
        if number != before + 1:
            yield run
            run = []
        run.append(number)
    yield run


def _path(points: Sequence[_Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _frame(
    label: str, series: Series, ticks: Sequence[Tick], curves: Sequence[str], describe: Callable[[Bin], str | None]
) -> str:
    """The grid, the curves, and for every bin an area whose tooltip describes the bin."""
    stretched = f'viewBox="0 0 {_SIDE} {_SIDE}" preserveAspectRatio="none"'
    return "\n".join(
        [
            f'<svg class="plot" role="img" aria-label="{escape(label)}">',
            *_grid(ticks),
            *_times(series),
            f'<svg width="100%" height="100%" {stretched}>',
            *curves,
            *_areas(series, describe),
            "</svg></svg>",
        ]
    )


def _grid(ticks: Sequence[Tick]) -> Iterator[str]:
    for tick in ticks:
        y = f"{100 - tick.value / ticks[-1].value * 100:.2f}%"
        yield f'<line x1="0" x2="100%" y1="{y}" y2="{y}"/><text x="-8" y="{y}" dy=".32em">{escape(tick.label)}</text>'


def _times(series: Series) -> Iterator[str]:
    start, end = series.span.start * series.width, series.span.stop * series.width
    for number, tick in enumerate(time_ticks(start, end)):
        part = (tick.value - start) / (end - start)
        x = f"{part * 100:.2f}%"
        kind = "time odd" if number % 2 else "time"
        kind += " last" if part > _LAST else ""
        yield f'<line class="mark" x1="{x}" x2="{x}" y1="100%" y2="102%"/>'
        yield f'<text class="{kind}" x="{x}" y="100%" dy="1.6em">{escape(tick.label)}</text>'


def _areas(series: Series, describe: Callable[[Bin], str | None]) -> Iterator[str]:
    width = _SIDE / len(series.span)
    for number, item in sorted(series.bins.items()):
        if description := describe(item):
            x, when = (number - series.span.start) * width, _moment(number * series.width)
            title = f"<title>{when} UTC\n{escape(description)}</title>"
            yield f'<rect x="{x:.1f}" width="{width:.1f}" height="{_SIDE}">{title}</rect>'


def _moment(time: float) -> str:
    moment = datetime.fromtimestamp(time, UTC)
    return f"{moment.day} {moment:%b %H:%M:%S}"


def _describe_latency(item: Bin) -> str | None:
    latency = item.latency
    if not latency.number:
        return None
    median, high = latency.quantile(0.5), latency.quantile(0.95)
    return f"median {duration(median)}, 95 % within {duration(high)}, fastest {duration(latency.least)}"
