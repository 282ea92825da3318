"""The report of a batch in a real Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from replicate_job.batches.report import write_report
from replicate_job.batches.results.record import encode, to_record
from replicate_job.job import Result

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("playwright.async_api", reason="playwright is not installed")


@pytest.mark.parametrize("width", [390, 1280])
async def test_a_short_text_has_a_low_card_and_a_blank_text_has_no_card(visit: Any, tmp_path: Path, width: int) -> None:
    outputs = ["Paris.", ["4", "2"], " \n", [" "], {"text": "yes"}]
    results = [
        Result(prediction_id=f"p{line}", status="succeeded", model="a/b", input={"prompt": "?"}, output=output,
               key=f"k{line}", line=line)
        for line, output in enumerate(outputs, 1)
    ]  # fmt: skip
    path = tmp_path / "results.jsonl"
    path.write_bytes(encode(to_record(result, tmp_path) for result in results))
    write_report(path, tmp_path / "report.html", title="short answers")
    await visit.page.set_viewport_size({"width": width, "height": 800})
    await visit.page.goto((tmp_path / "report.html").as_uri())
    sizes = await visit.page.locator(".text").evaluate_all(
        "all => all.map((one) => [one.offsetWidth, one.offsetHeight])"
    )
    assert len(sizes) == 3
    assert all(height < 80 < across for across, height in sizes)
