"""The contact sheet of a report, opened as a file in a browser: choices are made by keyboard and saved as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from replicate_job.batches.report import write_report
from replicate_job.batches.report.sheet import Sheet
from replicate_job.batches.results.record import encode, to_record
from replicate_job.batches.rows.grid import parse_grid
from replicate_job.job import Result

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

MODEL = "acme/own"
LINES, COLUMNS = 8, 12


@pytest.fixture
def report(tmp_path: Path) -> Path:
    grid = parse_grid([f"seed=1..{COLUMNS}"], (), MODEL)
    assert grid
    results = [
        Result(f"p{line}-{point.number}", "succeeded", MODEL, {"prompt": "a fox " * 20}, "text", line=line)
        for line in range(1, LINES + 1)
        for point in grid
    ]
    for index, result in enumerate(results):
        seed = index % COLUMNS + 1
        results[index] = msgspec.structs.replace(result, key=f"b/{result.line}-x+seed={seed}", grid={"seed": seed})
    path = tmp_path / "results.jsonl"
    path.write_bytes(encode(to_record(result, tmp_path) for result in results))
    write_report(path, tmp_path / "report.html", title="a batch", batch="b", sheet=Sheet(grid, MODEL))
    return tmp_path / "report.html"


@pytest.mark.parametrize("width", [1300, 390])
async def test_choices_on_the_contact_sheet_are_made_with_keys_and_saved(
    browser: Browser, report: Path, width: int
) -> None:
    context = await browser.new_context(viewport={"width": width, "height": 900})
    page, complaints = await context.new_page(), list[str]()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(report.as_uri())
    await page.locator(".thumbs .up").first.focus()
    for key in ("Enter", "ArrowRight", "ArrowRight", "Space", "ArrowDown", "Enter", "Enter", "ArrowLeft", "Enter"):
        await page.keyboard.press(key)
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    assert await page.locator(".contact output").text_content() == "2 good, 1 bad"
    async with page.expect_download() as download:
        await page.locator(".save").press("Enter")
    saved = msgspec.json.decode((await (await download.value).path()).read_bytes())
    assert saved["batch"] == "b"
    assert [(each["choice"], each["line"], each["grid"]) for each in saved["choices"]] == [
        ("up", 1, {"seed": 1}),
        ("up", 1, {"seed": 3}),
        ("down", 2, {"seed": 2}),
    ]
    assert await page.locator(".contact output").text_content() == "2 good, 1 bad, saved"
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    assert complaints == []
    await context.close()
