"""The contact sheet: the place of each cell, the memory that it takes, and the rights of its page."""

from __future__ import annotations

import re
import tracemalloc
from base64 import b64encode
from hashlib import sha256
from html import unescape
from typing import TYPE_CHECKING

import msgspec
import pytest

from replicate_job.batches.report import write_report
from replicate_job.batches.report.sheet import LIMIT, Sheet
from replicate_job.batches.results.record import encode, to_record
from replicate_job.batches.rows.grid import Grid, parse_grid
from replicate_job.job import Result

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MODEL = "acme/own"
EVIL = "\"'><script>alert(1)</script>&amp;"


def grid_of(*words: str, models: tuple[str, ...] = ()) -> Grid:
    grid = parse_grid(words, models, MODEL)
    assert grid
    return grid


def results_of(grid: Grid, lines: Iterable[int]) -> list[Result]:
    return [
        Result(
            prediction_id=f"p{line}-{point.number}",
            status="succeeded",
            model=point.model or MODEL,
            input={"prompt": f"prompt {line}"},
            output=f"{line} {point.texts}",
            key=f"batch/{line}-abc+{point.name}" if point.name else f"batch/{line}-abc",
            line=line,
            grid=dict(point.texts),
        )
        for line in lines
        for point in grid
    ]


def sheet_of(grid: Grid, results: Iterable[Result]) -> Sheet:
    sheet = Sheet(grid, MODEL)
    for result in results:
        sheet.add(result, 1.5)
    return sheet


def shown(sheet: Sheet) -> list[tuple[str, list[str]]]:
    return [
        (group.heading, [cell.result.prediction_id if cell else "" for cell in group.cells]) for group in sheet.groups()
    ]


def test_the_sheet_has_a_line_for_each_row_and_a_column_for_each_combination_and_model() -> None:
    grid = grid_of("seed=1..2", models=("acme/other",))
    sheet = sheet_of(grid, results_of(grid, [3, 2])[::-1])
    assert sheet.columns == ["acme/own, seed = 1", "acme/own, seed = 2", "acme/other, seed = 1", "acme/other, seed = 2"]
    assert shown(sheet) == [
        ("Line 2 · prompt 2", ["p2-0", "p2-1", "p2-2", "p2-3"]),
        ("Line 3 · prompt 3", ["p3-0", "p3-1", "p3-2", "p3-3"]),
    ]


def test_the_columns_of_a_grid_of_models_are_the_models_even_if_two_are_versions_of_one() -> None:
    versions = tuple(f"acme/own:{digit * 64}" for digit in "ab")
    grid = grid_of(models=versions)
    results = [msgspec.structs.replace(result, model=MODEL) for result in results_of(grid, [1, 2])]
    assert shown(sheet_of(grid, results))[0][1] == ["p1-0", "p1-1", "p1-2"]


def test_with_a_single_row_the_sheet_has_a_line_for_each_value_of_the_first_grid_name() -> None:
    grid = grid_of("seed=1..2", "ratio=1:1,16:9")
    sheet = sheet_of(grid, results_of(grid, [1]))
    assert sheet.columns == ["ratio = 1:1", "ratio = 16:9"]
    assert shown(sheet) == [("seed = 1 · prompt 1", ["p1-0", "p1-1"]), ("seed = 2 · prompt 1", ["p1-2", "p1-3"])]


def test_a_single_row_with_one_grid_name_is_shown_as_a_list_with_labels() -> None:
    grid = grid_of("seed=1..30")
    sheet = sheet_of(grid, results_of(grid, [1]))
    [group] = sheet.groups()
    assert (sheet.columns, len(group.cells), group.labels[29]) == ([], 30, "seed = 30")


def test_a_result_without_a_key_is_shown_with_its_error_in_its_own_cell() -> None:
    grid = grid_of("seed=1..2")
    failed = Result("", "error", MODEL, {}, error="too bad", line=4, problem="too bad", grid={"seed": 2})
    _, group = sheet_of(grid, [*results_of(grid, [3]), failed]).groups()
    assert group.cells[0] is None
    assert group.cells[1]
    assert (group.cells[1].card, group.cells[1].error) == (None, "too bad")


@pytest.mark.long
def test_of_a_million_rows_the_sheet_shows_the_first_ones_and_uses_little_memory() -> None:
    grid = grid_of("seed=1..3")
    tracemalloc.start()
    sheet = Sheet(grid, MODEL)
    for line in range(20_000, 0, -10):
        for result in results_of(grid, [line]):
            sheet.add(result, None)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    headings = [heading for heading, _ in shown(sheet)]
    assert (len(headings), headings[0], sheet.is_cut) == (LIMIT // 3, "Line 10 · prompt 10", True)
    assert most < 4_000_000


def test_a_sheet_of_an_endless_grid_shows_the_first_combinations() -> None:
    grid = grid_of("seed=1..1000000000")
    few = Grid({"seed": range(1, 700)})
    sheet = sheet_of(grid, results_of(few, [1]))
    assert (len(next(sheet.groups()).cells), sheet.is_cut) == (LIMIT, True)


def page(folder: Path, grid: Grid, results: Iterable[Result]) -> str:
    path = folder / "results.jsonl"
    path.write_bytes(encode(to_record(result, folder) for result in results))
    write_report(path, folder / "report.html", title="a batch", batch="batch", sheet=Sheet(grid, MODEL))
    return (folder / "report.html").read_text("utf-8")


def test_the_page_runs_only_its_own_script_and_sends_no_requests(tmp_path: Path) -> None:
    grid = grid_of(f'prompt="{EVIL.replace(chr(34), chr(34) * 2)}",b')
    results = [msgspec.structs.replace(result, output=EVIL) for result in results_of(grid, [1, 2])]
    html = page(tmp_path, grid, results)
    [script] = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    [allowed] = re.findall(r"script-src '(.*?)';", html)
    assert allowed == f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}"
    assert "alert" not in script
    assert not re.search(r"(?:src|href)=\"(?!data:|\./|#)", html)


def test_a_cell_holds_the_data_that_a_saved_choice_contains(tmp_path: Path) -> None:
    grid = grid_of("seed=1..2")
    picture = tmp_path / "outputs" / "a.png"
    picture.parent.mkdir()
    picture.write_bytes(b"\x89PNG")
    results = [msgspec.structs.replace(result, files=(picture,)) for result in results_of(grid, [1, 2])]
    cells = [
        msgspec.json.decode(unescape(found))
        for found in re.findall(r'data-cell="(.*?)"', page(tmp_path, grid, results))
    ]
    assert cells[0] == {
        "line": 1,
        "key": "batch/1-abc+seed=1",
        "model": MODEL,
        "grid": {"seed": "1"},
        "prediction_id": "p1-0",
        "files": ["outputs/a.png"],
    }
    assert len(cells) == 4


@pytest.mark.parametrize("lines", [[1], [1, 2]])
def test_a_cell_without_a_picture_says_why(tmp_path: Path, lines: list[int]) -> None:
    grid = grid_of("seed=1..3")
    failed, missing, *rest = results_of(grid, lines)
    failed = msgspec.structs.replace(failed, status="failed", error="out of memory", output=None)
    html = page(tmp_path, grid, [failed, *rest])
    assert missing.prediction_id not in html
    assert html.count("failed: out of memory") == html.count("no result yet") == 1
