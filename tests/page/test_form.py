from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

expect = pytest.importorskip("playwright.async_api", reason="playwright is not installed").expect


async def test_only_inputs_that_were_set_are_sent(visit: Any) -> None:
    page = (await visit.to("/me/every")).page
    await visit.text("prompt").fill("a fox")
    await visit.text("steps").fill("9")
    await visit.text("strength").fill("0.8")  # the default of this input
    await page.get_by_label("size", exact=True).select_option("256")
    await page.get_by_label("maybe", exact=True).select_option("false")
    await page.get_by_label("fast", exact=True).uncheck()
    await page.get_by_role("button", name="Add an item to counts").click()
    await visit.text("counts, item 1").fill("7")
    await page.get_by_role("button", name="Remove item 1 of words").click()
    await visit.text("options").fill('{"deep": [1]}')
    await visit.text("key").fill("hush")
    await visit.text("seed").fill("5")
    await page.get_by_role("button", name="Reset seed").click()
    await visit.run()
    await visit.status("succeeded")
    sent = (await visit.prediction())["input"]
    sent.pop("key")
    assert sent == {
        "prompt": "a fox",
        "size": 256,
        "steps": 9,
        "fast": False,
        "maybe": False,
        "words": ["b"],
        "counts": [7],
        "options": {"deep": [1]},
    }


async def test_items_of_a_list_are_renumbered_in_order(visit: Any) -> None:
    page = (await visit.to("/me/every")).page
    await page.get_by_role("button", name="Remove item 1 of words").click()
    await expect(visit.text("words, item 1")).to_have_value("b")
    await page.get_by_role("button", name="Add an item to words").click()
    await expect(visit.text("words, item 2")).to_be_focused()
    await page.get_by_role("button", name="Remove item 2 of words").click()
    await expect(visit.text("words, item 1")).to_have_value("b")


async def test_a_slider_and_its_number_field_change_together(visit: Any) -> None:
    page = (await visit.to("/me/every")).page
    slider = page.get_by_role("slider", name="strength")
    await expect(slider).to_have_value("0.8")
    await slider.focus()
    await page.keyboard.press("ArrowRight")
    await expect(visit.text("strength")).to_have_value("0.81")
    await visit.text("strength").fill("0.25")
    await expect(slider).to_have_value("0.25")


async def test_a_missing_input_is_marked_and_focused_before_anything_is_sent(visit: Any) -> None:
    page = (await visit.to("/me/every")).page
    await visit.run()
    await expect(visit.field("prompt").get_by_role("alert")).to_have_text("This one is required.")
    await expect(visit.text("prompt")).to_be_focused()
    await expect(visit.text("prompt")).to_have_attribute("aria-invalid", "true")
    assert page.url == f"{visit.origin}/me/every"


async def test_an_error_of_the_api_is_shown_at_its_field(visit: Any) -> None:
    visit.expected = "status of 422"
    page = (await visit.to("/me/every")).page
    await visit.text("prompt").fill("a fox")
    await visit.text("steps").fill("99")
    await visit.text("seed").fill("many")
    await page.get_by_role("button", name="Add an item to counts").click()
    await visit.text("counts, item 1").fill("x")
    await visit.run()
    await expect(visit.field("steps").get_by_role("alert")).to_contain_text("less than or equal to 50")
    await expect(visit.field("seed").get_by_role("alert")).to_contain_text("integer")
    await expect(visit.field("counts").get_by_role("alert")).to_contain_text("Item 1")
    await expect(visit.text("steps")).to_be_focused()
    await visit.text("steps").fill("9")
    await expect(visit.field("steps").locator(".problem")).to_be_empty()


async def test_the_input_can_be_edited_as_json(visit: Any) -> None:
    page = (await visit.to("/me/every")).page
    await page.get_by_role("button", name="JSON", exact=True).click()
    await page.get_by_label("Input as JSON").fill('{"prompt": "a fox", "steps": 2, "unknown": 1')
    await expect(page.get_by_text("This is not a JSON object.")).to_be_visible()
    await visit.run()
    await page.get_by_label("Input as JSON").fill('{"prompt": "a fox", "steps": 2, "unknown": 1}')
    await page.get_by_role("button", name="Form", exact=True).click()
    await expect(visit.text("steps")).to_have_value("2")
    await visit.run()
    await visit.status("succeeded")
    assert (await visit.prediction())["input"] == {"prompt": "a fox", "steps": 2, "unknown": 1}


async def test_a_large_file_is_uploaded_and_a_small_one_is_sent_as_a_data_url(
    visit: Any, picture: Path, tmp_path: Path
) -> None:
    page = (await visit.to("/me/files")).page
    choose = visit.field("image").locator("input[type=file]")
    await choose.set_input_files(picture)
    await expect(visit.field("image")).to_contain_text(picture.name)
    # The file's name appears before its content has been read.
    await expect(page.get_by_label("Input as JSON")).to_have_value(re.compile("data:image/png;base64,"))
    large = tmp_path / "large.png"
    large.write_bytes(picture.read_bytes() + bytes(300_000))  # noqa: ASYNC240 - it takes a moment only
    await choose.set_input_files(large)
    await expect(visit.field("image")).to_contain_text("large.png")
    await expect(visit.field("image").locator("img")).to_have_js_property(
        "naturalWidth", 2
    )  # also for an uploaded file
    await visit.run()
    await visit.status("succeeded")
    prediction = await visit.prediction()
    assert prediction["input"]["image"].startswith(f"{visit.origin}/v1/files/")
    assert prediction["logs"] == f"{large.stat().st_size} bytes\n"


async def raw(page: Any) -> str:
    return str(await page.get_by_label("Input as JSON").input_value())


async def test_files_can_be_dropped_and_pasted(visit: Any, picture: Path) -> None:
    page = (await visit.to("/me/files")).page
    content = list(picture.read_bytes())  # noqa: ASYNC240 - it takes a moment only
    for event, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        await (
            visit.field("image")
            .locator(".file")
            .evaluate(
                """(zone, [event, holder, content]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(content)], `${event}.png`, { type: "image/png" }));
                const kind = event === "drop" ? DragEvent : ClipboardEvent;
                zone.dispatchEvent(new kind(event, { [holder]: data, bubbles: true, cancelable: true }));
            }""",
                [event, holder, content],
            )
        )
        await expect(visit.field("image")).to_contain_text(f"{event}.png")
    await page.get_by_role("button", name="Remove paste.png").click()
    await expect(visit.field("image").locator("img")).to_have_count(0)
    assert await raw(page) == "{}"


async def test_back_and_forward_restore_the_form(visit: Any) -> None:
    page = (await visit.to("/me/every")).page
    await visit.text("prompt").fill("first")
    await visit.text("key").fill("hush")
    await visit.run()
    await visit.status("succeeded")
    await visit.text("prompt").fill("second")
    await page.go_back()
    await expect(visit.text("prompt")).to_have_value("first")
    await expect(page).to_have_url(f"{visit.origin}/me/every")
    await expect(visit.text("key")).to_have_value("")  # secrets are not stored
    await page.go_forward()
    await expect(visit.text("prompt")).to_have_value("second")
    await page.reload()
    await expect(visit.text("prompt")).to_have_value("second")
