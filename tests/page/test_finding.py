"""Finding models and predictions: lists, filters, addresses, the keyboard."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from replicate_job.local.options import ServerOptions
from replicate_job.local.server import serve

if TYPE_CHECKING:
    from pathlib import Path

expect = pytest.importorskip("playwright.async_api", reason="playwright is not installed").expect


async def test_models_are_searched_by_name_and_description(visit: Any) -> None:
    page = (await visit.to("/")).page
    await page.get_by_label("Search models").fill("paint schnell")
    await expect(page.locator(".model:visible")).to_have_count(1)
    await expect(page).to_have_url(f"{visit.origin}/?q=paint+schnell")
    await expect(page.get_by_role("heading", name="Yours")).to_be_hidden()  # none of them matches
    await page.get_by_label("Search models").fill("me/w")
    await expect(page.get_by_role("region", name="Yours").locator(".model:visible")).to_have_count(1)
    await expect(page.get_by_role("heading", name="Built in")).to_be_hidden()
    await page.get_by_label("Search models").fill("no such thing")
    await expect(page.get_by_text("No model has these words.")).to_be_visible()


async def test_the_history_loads_older_runs_when_it_is_scrolled_and_has_filters(visit: Any) -> None:
    await asyncio.gather(*(visit.create(f"number {count}") for count in range(120)))
    failing = await visit.create("the needle is to fail")
    page = (await visit.to("/history")).page
    rows = page.locator(".run")
    while await rows.count() < 121:
        await page.mouse.wheel(0, 5000)
    await page.get_by_label("Search inputs").fill("needle")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("failed")
    await page.get_by_label("Search inputs").fill("")
    await page.get_by_label("Status").select_option("failed")
    await expect(page.locator(f'.run[data-id="{failing["id"]}"]')).to_be_visible()
    assert set(await rows.evaluate_all("rows => rows.map((row) => row.dataset.status)")) == {"failed"}
    await page.get_by_label("Model", exact=True).select_option("me/words")
    assert page.url.endswith("/history?model=me%2Fwords&status=failed")
    await page.reload()
    await expect(page.get_by_label("Status")).to_have_value("failed")
    await rows.first.click()
    await page.go_back()
    await expect(page.get_by_label("Status")).to_have_value("failed")


async def test_a_running_prediction_in_a_list_is_updated_until_its_end(visit: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    running = await visit.create("one two", gate=str(gate))
    page = (await visit.to("/")).page
    row = page.locator(f'.run[data-id="{running["id"]}"]')
    await expect(row).to_contain_text("processing")
    gate.touch()
    await expect(row).to_contain_text("succeeded")


async def test_a_run_is_listed_with_its_prompt_or_main_input(visit: Any) -> None:
    inputs = [
        ({"audio": "data:audio/mpeg;base64,AA==", "format": "plain text"}, "audio.mp3"),
        ({"image": "https://a.example/b/c%20d.png?e", "mode": "x"}, "c d.png"),
        ({"image": "http://127.0.0.1/v1/files/y7i6jcnzfjclnfdvpqiyn37zai", "mode": "x"}, "image"),
        ({"mode": "fast", "prompt": "a  fox"}, "a fox"),
        ({"mode": "fast"}, "fast"),
        ({"steps": 4, "data": [1] * 99}, '{"steps":4}'),
        ({}, "No input"),
    ]
    shown = await visit.pure("runs", "given.map((input) => m.asked({ input }))", [one for one, _ in inputs])
    assert shown == [words for _, words in inputs]


async def test_an_old_prediction_can_be_run_again_with_a_changed_input(visit: Any) -> None:
    old = await visit.create("one two three")
    page = (await visit.to(f"/p/{old['id']}")).page
    await visit.status("succeeded")
    await expect(page.get_by_test_id("text")).to_have_text("one two three")
    await visit.text("prompt").fill("four")
    await visit.run()
    await expect(page.get_by_test_id("text")).to_have_text("four")
    assert (await visit.prediction())["input"] == {"prompt": "four"}


async def test_the_whole_page_can_be_used_with_the_keyboard(visit: Any, tmp_path: Path) -> None:
    page = (await visit.to("/")).page
    keyboard = page.keyboard
    await keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_be_focused()
    await keyboard.press("/")
    await keyboard.type("me/words")
    await expect(page.locator(".model:visible")).to_have_count(1)
    await keyboard.press("Tab")
    await keyboard.press("Enter")
    await expect(page.locator("h1")).to_be_focused()
    await expect(page.locator("h1")).to_have_text("me/words")
    for _ in range(12):
        if await page.evaluate("document.activeElement.id") == "field-prompt":
            break
        await keyboard.press("Tab")
    assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    await keyboard.type("one two")
    await keyboard.press("Tab")
    await keyboard.type(str(tmp_path / "never"))
    await keyboard.press("Control+Enter")
    await expect(page.get_by_test_id("text")).to_have_text("one")
    await expect(page.locator("#status")).to_have_text("Running")
    await page.get_by_role("button", name="Cancel").focus()
    await keyboard.press("Enter")
    await visit.status("canceled")


async def test_every_field_of_a_form_has_a_name_for_screen_readers(visit: Any) -> None:
    page = (await visit.to("/me/every")).page
    nameless = await page.locator("main").evaluate(
        """(main) => [...main.querySelectorAll("input, select, textarea, button")].filter((one) =>
            one.ariaHidden !== "true" && !one.ariaLabel && !one.labels?.length && !one.textContent.trim()).length"""
    )
    assert nameless == 0


async def test_html_in_a_readme_is_shown_as_text(visit: Any) -> None:
    page = (await visit.to("/me/words")).page
    await page.get_by_text("About this model").click()
    for shown in (page.locator(".markdown"), page.locator(".description")):
        await expect(shown.locator("code")).to_have_text("words")
        await expect(shown).to_contain_text("<b>see</b> here")
        assert await shown.locator("a, b").count() == 0
    await visit.to("/")
    await expect(page.locator('a[href="/me/words"] .description')).to_have_text("Says words again: <b>see</b> here.")


async def test_an_unknown_model_or_prediction_shows_a_message(visit: Any) -> None:
    visit.expected = "status of 404"
    for path in ("/p/nothing", "/me/nothing"):
        page = (await visit.to(path)).page
        await expect(page.get_by_role("heading", name="There is nothing here")).to_be_visible()


async def test_the_page_asks_for_the_token_once_in_each_tab(folders: tuple[Path, Path], visit: Any) -> None:
    visit.expected = "status of 401"
    models, cache = folders
    async with serve(ServerOptions(models=[models], cache_dir=cache, grace=0.2, token="s3cret")) as origin:  # noqa: S106 - a token for this test
        page = visit.page
        await page.goto(f"{origin}/me/words")
        await page.get_by_label("Token").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("That token was refused.")).to_be_visible()
        await page.get_by_label("Token").fill("s3cret")
        await page.keyboard.press("Enter")
        await visit.text("prompt").fill("one two")
        await visit.run()
        await expect(page.get_by_test_id("text")).to_have_text("one two")
        await page.reload()
        await expect(page.get_by_test_id("text")).to_have_text("one two")
        assert "s3cret" not in await visit.snippet("Command")
        assert "s3cret" not in await page.content()


async def test_the_page_has_caching_headers_and_a_strict_content_security_policy(visit: Any) -> None:
    get = visit.page.request.get
    page = await get(visit.origin)
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-cache"
    style = re.search(r"/page/\w+/base\.css", await page.text())
    assert style
    kept = await get(visit.origin + style[0])
    assert "immutable" in kept.headers["cache-control"]
    again = await get(visit.origin + style[0], headers={"if-none-match": kept.headers["etag"]})
    assert again.status == 304
    for path in (
        "/page/x/../../app.py",
        "/page/x/%2e%2e/%2e%2e/app.py",
        "/page/x/nothing.js",
        "/v1/nothing",
        "/outputs/nothing",
        "/inputs/nothing",
    ):
        missing = await get(visit.origin + path)
        assert (missing.status, missing.headers["content-type"]) == (404, "application/problem+json")


async def test_the_first_model_is_shown_with_its_cover(visit: Any) -> None:
    page = (await visit.to("/")).page
    first = page.locator('section[aria-labelledby="group-built-in"] .model').first
    await expect(first).to_contain_text("black-forest-labs/flux-schnell")
    assert await first.locator("img").evaluate("async (img) => { await img.decode(); return img.naturalWidth; }") == 640


async def test_deleting_a_prediction_needs_a_second_click(visit: Any) -> None:
    made = [await visit.create(f"number {number}") for number in (1, 2)]
    page = (await visit.to(f"/p/{made[0]['id']}")).page
    await visit.status("succeeded")
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(visit.text("prompt")).to_have_value("number 1")
    await page.get_by_role("button", name="Delete it for good?").click()
    await expect(page).to_have_url(f"{visit.origin}/me/words")
    await expect(visit.text("prompt")).to_have_value("number 1")
    await expect(page.locator(f'[data-id="{made[1]["id"]}"]')).to_be_visible()
    await expect(page.locator(f'[data-id="{made[0]["id"]}"]')).to_have_count(0)
    assert (await visit.api(f"/v1/predictions/{made[0]['id']}"))["status"] == 404
