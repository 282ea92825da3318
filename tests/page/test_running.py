from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.local.options import ServerOptions
from replicate_job.local.server import serve

if TYPE_CHECKING:
    from pathlib import Path

expect = pytest.importorskip("playwright.async_api", reason="playwright is not installed").expect

HOSTILE = "one <b>two</b> <img src=x onerror=document.title='taken'> four five six"


async def run_words(visit: Any, prompt: str, gate: Path) -> None:
    """Start a run that waits in the middle until the file ``gate`` exists."""
    await visit.to("/me/words")
    await visit.text("prompt").fill(prompt)
    await visit.text("gate").fill(str(gate))
    await visit.run()


async def run_with_picture(visit: Any, picture: Path) -> str:
    """Run a model that returns its input picture. Returns the address of the output."""
    await visit.to("/me/files")
    await visit.field("image").locator("input[type=file]").set_input_files(picture)
    await expect(visit.field("image").locator("img")).to_be_visible()
    await visit.run()
    await visit.status("succeeded")
    return str((await visit.prediction())["output"][0])


async def test_a_run_of_the_painter_shows_progress_and_then_a_picture(visit: Any) -> None:
    page = (await visit.to("/black-forest-labs/flux-schnell")).page
    await expect(page.get_by_text("stand-in", exact=True)).to_be_visible()
    await visit.text("prompt").fill("a mountain lake at sunset")
    await page.get_by_label("megapixels", exact=True).select_option("0.25")
    await visit.run()
    await expect(page.get_by_test_id("progress")).to_contain_text("/5", timeout=60_000)
    await visit.status("succeeded")
    picture = page.locator(".output img")
    await expect(picture).to_be_visible()
    assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert page.url.startswith(f"{visit.origin}/p/")
    await page.reload()
    await expect(picture).to_be_visible()


async def test_text_appears_while_it_is_streamed_and_is_never_html(visit: Any, tmp_path: Path) -> None:
    page, gate = visit.page, tmp_path / "gate"
    await run_words(visit, HOSTILE, gate)
    await expect(page.get_by_test_id("text")).to_have_text(" ".join(HOSTILE.split(" ")[:4]))
    await visit.status("processing")
    gate.touch()
    await visit.status("succeeded")
    await expect(page.get_by_test_id("text")).to_have_text(HOSTILE)
    await page.get_by_text("Log", exact=True).click()
    await expect(page.get_by_test_id("log")).to_contain_text(f"said to {HOSTILE}\n")
    assert await page.locator("main b, main img").count() == 0
    assert "taken" not in await page.title()


async def test_a_reload_during_a_run_continues_to_show_it(visit: Any, tmp_path: Path) -> None:
    page, gate = visit.page, tmp_path / "gate"
    await run_words(visit, "one two three four", gate)
    await expect(page.get_by_test_id("text")).to_have_text("one two")
    await page.reload()
    await visit.status("processing")
    await expect(page.get_by_test_id("text")).to_have_text("one two")
    gate.touch()
    await visit.status("succeeded")
    await expect(page.get_by_test_id("text")).to_have_text("one two three four")
    await expect(visit.text("prompt")).to_have_value("one two three four")


async def test_progress_is_read_from_the_log_and_the_escape_key_cancels_the_prediction(
    visit: Any, tmp_path: Path
) -> None:
    page = visit.page
    await run_words(visit, "one two three four", tmp_path / "never")
    await expect(page.get_by_test_id("progress")).to_have_text("50 % · words · 2/4 · 00:02 left")
    await expect(page.get_by_test_id("log")).to_have_text(
        "said to one two three four\nwords:  50%|##| 2/4 [00:01<00:02]"
    )
    await page.keyboard.press("Escape")  # in the focused field, this key does not cancel
    await visit.status("processing")
    await page.locator("h1").focus()
    await page.keyboard.press("Escape")
    await visit.status("canceled")
    await expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    assert (await visit.prediction())["status"] == "canceled"


async def test_a_failure_shows_its_reason_and_the_log(visit: Any) -> None:
    page = (await visit.to("/me/words")).page
    await visit.text("prompt").fill("to fail")
    await page.get_by_role("button", name="Run").click()
    await visit.status("failed")
    await expect(page.get_by_role("alert").filter(has_text="this cannot be <b>done</b>")).to_be_visible()
    await expect(page.get_by_test_id("log")).to_contain_text("said to to fail")


async def test_a_run_comes_into_view_from_the_end_of_a_long_form(visit: Any) -> None:
    page = (await visit.to("/me/every")).page
    await visit.text("prompt").fill("x")
    await page.get_by_role("button", name="Run").focus()
    assert await page.evaluate("scrollY") == 0  # the button is always in view
    await page.get_by_label("key", exact=True).focus()
    await expect(page.locator("h1")).not_to_be_in_viewport()
    await visit.run()
    await visit.status("succeeded")
    await expect(page.get_by_test_id("status")).to_be_in_viewport()


async def test_output_files_are_played_shown_or_downloaded(visit: Any) -> None:
    page = (await visit.to("/me/files")).page
    await visit.run()
    await visit.status("succeeded")
    sound = page.locator(".output audio")
    await expect(sound).to_have_js_property("duration", 0.5)
    await expect(page.locator(".output pre")).to_have_text("a,b\n1,<b>2</b>\n")
    async with page.expect_download() as download:
        await page.locator("figure[data-media=other]").get_by_role("link", name="Download").click()
    assert (await (await download.value).path()).read_bytes() == b"PK"


async def test_json_output_is_shown_as_a_tree_with_long_lists_folded(visit: Any) -> None:
    page = (await visit.to("/me/every")).page
    await visit.text("prompt").fill("x")
    await visit.run()
    await visit.status("succeeded")
    tree = page.locator(".output .json")
    await expect(tree).to_contain_text('"said": "<img src=x onerror=alert(1)>"')
    await expect(tree).not_to_contain_text("399")
    await expect(tree).to_contain_text(
        "23, 376 more of 400]", use_inner_text=True
    )  # the closing bracket is on the same line
    await tree.get_by_role("button", name="376 more of 400").click()
    await expect(tree).to_contain_text("398, 399]", use_inner_text=True)


async def test_a_transcription_is_shown_as_text_with_the_other_fields_folded(visit: Any) -> None:
    page = (await visit.to("/me/heard")).page
    await visit.run()
    await visit.status("succeeded")
    await expect(page.get_by_test_id("text")).to_have_text("Good day.\nHow are you?")
    await expect(page.get_by_test_id("left-out")).to_have_text("Stand-in: not heard: <b>music</b>.")
    tree = page.locator(".output .json")
    await expect(tree).to_be_hidden()
    await page.get_by_text("The whole output").click()
    await expect(tree).to_contain_text('"language": "english"')


async def test_an_output_picture_can_be_used_as_the_next_input(visit: Any, picture: Path) -> None:
    page = visit.page
    given = await run_with_picture(visit, picture)
    await page.get_by_role("button", name="Use as image").click()
    await visit.run()
    await expect(page).not_to_have_url(f"{visit.origin}/p/{given.split('/')[4]}")
    await visit.status("succeeded")
    assert (await visit.prediction())["input"] == {"image": given}


async def test_a_queued_prediction_shows_how_many_are_before_it(visit: Any, tmp_path: Path) -> None:
    page, gate = visit.page, tmp_path / "gate"
    await run_words(visit, "one two", gate)
    await visit.status("processing")
    first = page.url
    await visit.run()
    await expect(page).not_to_have_url(first)
    await expect(page.get_by_text("1 before it")).to_be_visible()
    gate.touch()
    await visit.status("succeeded")


async def test_a_very_long_text_is_folded(visit: Any) -> None:
    prompt = "x" * 300_000
    version = (await visit.api("/v1/models/me/words"))["latest_version"]["id"]
    created = await visit.api("/v1/predictions", {"version": version, "input": {"prompt": prompt}})
    page = (await visit.to(f"/p/{created['id']}")).page
    await visit.status("succeeded")
    text = page.get_by_test_id("text")
    await expect(text).to_have_text("x" * 100_000)
    await page.get_by_role("button", name="Copy", exact=True).first.click()
    assert await page.evaluate("navigator.clipboard.readText()") == prompt + " "
    await page.get_by_role("button", name="200,001 more characters").click()
    await expect(text).to_have_text(prompt)


async def test_an_output_picture_can_be_used_as_the_input_of_another_model(visit: Any, picture: Path) -> None:
    page = visit.page
    given = await run_with_picture(visit, picture)
    await page.get_by_role("button", name="Use in").click()
    await page.get_by_label("Use in", exact=True).select_option("nightmareai/real-esrgan")
    await expect(page).to_have_url(f"{visit.origin}/nightmareai/real-esrgan")
    await expect(page.get_by_label("Address of a file for image")).to_have_value(given)


async def test_the_page_runs_the_current_version_of_an_edited_model(visit: Any, edited: Any) -> None:
    page = (await visit.to("/me/edited")).page
    await expect(visit.text("prompt")).to_be_visible()
    before = await edited('def run(self, prompt: str = "a") -> str:\n        return "new " + prompt')
    await visit.run()
    await visit.status("succeeded")
    await expect(page.get_by_test_id("text")).to_have_text("new a")
    await edited('def run(self, words: str = "c") -> str:\n        return "newest " + words')
    await visit.run()
    await expect(page.get_by_text("The model has changed")).to_be_visible()
    await expect(visit.text("words")).to_be_visible()
    await page.get_by_label("Version").select_option(before)
    await expect(page).to_have_url(f"{visit.origin}/me/edited?version={before}")
    await visit.text("prompt").fill("old")
    assert f"me/edited:{before}" in await visit.snippet("Command")
    await visit.run()
    await visit.status("succeeded")
    await expect(page.get_by_test_id("text")).to_have_text("new old")
    assert (await visit.prediction())["version"] == before
    await page.reload()
    await expect(page.get_by_label("Version")).to_have_value(before)


async def test_the_page_reports_a_stopped_server_and_reconnects(
    folders: tuple[Path, Path], visit: Any, tmp_path: Path
) -> None:
    visit.expected = "ERR_CONNECTION_REFUSED|ERR_INCOMPLETE|ERR_EMPTY|ERR_CONNECTION_RESET"
    models, cache = folders
    options = ServerOptions(models=[models], cache_dir=cache, grace=0.2, state=tmp_path / "state")
    page = visit.page
    async with serve(options) as origin:
        await page.goto(f"{origin}/me/words")
        await visit.text("prompt").fill("one two")
        await visit.text("gate").fill(str(tmp_path / "never"))
        await visit.run()
        await expect(page.get_by_test_id("text")).to_have_text("one")
    await expect(page.get_by_text("The server does not answer. Is it still running?")).to_be_visible()
    async with serve(msgspec.structs.replace(options, port=int(origin.rpartition(":")[2]))):
        await visit.status("failed")
        await expect(page.get_by_text("The server does not answer. Is it still running?")).to_be_hidden()
