"""How the page looks: widths, contrast, size of touch targets, and reduced motion."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_job.testing import LocalAPI

expect = pytest.importorskip("playwright.async_api", reason="playwright is not installed").expect

# Finds texts with less contrast than level AA of WCAG. All backgrounds of the page are plain colours.
FAINT = """() => {
    const parts = (colour) => { const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number); return [[r, g, b], a]; };
    const lineage = (one) => one ? [one, ...lineage(one.parentElement)] : [];
    const light = (rgb) => rgb.map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, index) => sum + c * [0.2126, 0.7152, 0.0722][index], 0);
    const contrast = (one) => {
        const grounds = lineage(one).map((each) => parts(getComputedStyle(each).backgroundColor));
        const [ground] = grounds.find(([, a]) => a === 1);
        const [ink, alpha] = parts(getComputedStyle(one).color);
        const opacity = lineage(one).reduce((all, each) => all * getComputedStyle(each).opacity, alpha);
        const [a, b] = [ground, ink.map((c, index) => c * opacity + ground[index] * (1 - opacity))].map(light);
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    };
    return [...document.querySelectorAll("body *")]
        .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
        .filter((one) => one.checkVisibility() && !one.matches(".unseen, .skip"))
        .map((one) => [one.outerHTML.slice(0, 80), contrast(one)]).filter(([, found]) => !(found >= 4.5));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_has_enough_contrast(visit: Any, scheme: Any) -> None:
    await visit.page.emulate_media(color_scheme=scheme)
    failing = (await visit.create("to fail"))["id"]
    for path in ("/", "/history", "/me/every", "/black-forest-labs/flux-schnell", f"/p/{failing}"):
        await visit.to(path)
        if path.endswith(failing):
            await visit.status("failed")
        assert await visit.page.evaluate(FAINT) == []


async def test_with_reduced_motion_the_page_has_no_animations(visit: Any, tmp_path: Any) -> None:
    moving = """() => document.getAnimations().length + [...document.querySelectorAll("*")]
        .flatMap((one) => ["", "::before", "::after"].map((part) => getComputedStyle(one, part)))
        .filter((style) => style.animationName !== "none" || style.transitionDuration !== "0s").length"""
    running = await visit.create("one two", gate=str(tmp_path / "gate"))
    await visit.to(f"/p/{running['id']}")
    await visit.status("processing")
    assert await visit.page.evaluate(moving) > 0
    await visit.page.emulate_media(reduced_motion="reduce")
    assert await visit.page.evaluate(moving) == 0
    await visit.to("/me/every")  # this model has a switch
    assert await visit.page.evaluate(moving) == 0
    (tmp_path / "gate").touch()


async def test_every_page_fits_the_width_of_a_small_phone(visit: Any) -> None:
    await visit.page.set_viewport_size({"width": 360, "height": 740})
    for path in ("/", "/history", "/me/every", "/black-forest-labs/flux-schnell"):
        await visit.to(path)
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_on_a_phone_a_prediction_is_above_its_form_and_is_scrolled_into_view(visit: Any) -> None:
    await visit.page.set_viewport_size({"width": 360, "height": 740})
    await visit.to(f"/p/{(await visit.create('word ' * 99))['id']}")
    await visit.status("succeeded")
    assert await visit.page.evaluate("document.documentElement.scrollWidth") <= 360
    stage, form = visit.page.locator(".stage"), visit.page.locator("form.inputs")
    assert (await stage.bounding_box())["y"] < (await form.bounding_box())["y"]
    await visit.to("/me/words")
    await visit.text("prompt").fill("word " * 300)
    await visit.page.get_by_role("button", name="Run").click()
    await visit.status("succeeded")
    await expect(visit.page.get_by_test_id("status")).to_be_in_viewport()


async def test_touch_targets_are_large_enough(browser: Any, replicate_local: LocalAPI, visit: Any) -> None:
    """Touch targets are at least 44 pixels high, except links in a sentence."""
    failing = (await visit.create("to fail"))["id"]
    context = await browser.new_context(viewport={"width": 412, "height": 800}, has_touch=True, is_mobile=True)
    page = await context.new_page()
    for path in ("/", "/history", "/me/every", "/openai/whisper", f"/p/{failing}"):
        await page.goto(replicate_local.base_url + path)
        await page.locator("main h1").wait_for()
        small = await page.evaluate(
            """[...document.querySelectorAll("a, button, summary, select, textarea, input:not([type=checkbox])")]
            .filter((one) => one.checkVisibility() && !one.matches(".unseen, .skip, .help a"))
            .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect().height])
            .filter(([, height]) => height < 43.5)"""
        )
        assert small == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= 412
    await context.close()


@pytest.mark.parametrize("phone", [{"has_touch": True, "is_mobile": True}, {}], ids=["touched", "narrow"])
async def test_keyboard_shortcuts_are_not_shown_on_a_phone(browser: Any, replicate_local: LocalAPI, phone: Any) -> None:
    context = await browser.new_context(viewport={"width": 390, "height": 844}, **phone)
    page = await context.new_page()
    await page.goto(f"{replicate_local.base_url}/me/every")
    run = page.get_by_role("button", name="Run")
    await expect(run).to_be_visible()
    await expect(run.locator("kbd")).to_be_hidden()
    await context.close()
