"""The commands and code that the page shows create the same prediction as its form."""

from __future__ import annotations

import ast
import asyncio
import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

expect = pytest.importorskip("playwright.async_api", reason="playwright is not installed").expect

NASTY = [
    "it's", 'say "hi"', "$HOME `id` $(id) \\", "two\nlines\n", "@file", "@@x", "-n", "~", "", "=", "a=b", "!history",
    "é 漢 🦊", "null", "\u2028\u200b", "JSON\nJSON",
]  # fmt: skip


async def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "KEY": "hush", "REPLICATE_JOB_JOURNAL": str(folder / "journal.db"), "no_proxy": "*"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, problem = await process.communicate()
    assert process.returncode == 0, problem.decode()
    return said.decode()


async def newest(visit: Any) -> Any:
    return (await visit.api("/v1/predictions"))["results"][0]


@pytest.mark.parametrize("kind", ["Command", "Python", "curl"])
async def test_a_copied_command_sends_the_same_input(visit: Any, kind: str, picture: Path) -> None:
    page = (await visit.to("/me/every")).page
    prompt = 'it\'s "two"\nlines $HOME `id` \\n @x'
    await visit.text("prompt").fill(prompt)
    await visit.text("negative").fill("@name")
    await visit.text("steps").fill("9")
    await visit.text("key").fill("hush")
    await page.get_by_label("fast", exact=True).uncheck()
    await visit.text("options").fill('{"file": "it\'s", "deep": [null]}')
    await visit.field("images").locator(".list > .actions input").set_input_files(picture)
    await expect(visit.field("images")).to_contain_text("small.png")
    snippet = await visit.snippet(kind)
    await page.locator(".code").get_by_role("button", name="Copy").click()
    assert await page.evaluate("navigator.clipboard.readText()") == snippet
    assert "hush" not in snippet
    await run([sys.executable, "-c", snippet] if kind == "Python" else ["sh", "-c", snippet], picture.parent)
    sent = (await newest(visit))["input"]
    sent.pop("key")
    images = sent.pop("images")
    assert [url.partition(",")[0] for url in images] == ["data:image/png;base64"]
    assert sent == {
        "prompt": prompt,
        "negative": "@name",
        "steps": 9,
        "fast": False,
        "options": {"file": "it's", "deep": [None]},
    }


async def test_input_files_that_are_not_on_disk_can_be_saved_for_the_copied_command(visit: Any, picture: Path) -> None:
    """Input files that are not on disk come from an example, or from a prediction that another program created."""
    urls = [f"data:image/png;base64,{b64encode(bytes([count] * 999)).decode()}" for count in (1, 2)]
    version = (await visit.api("/v1/models/me/every"))["latest_version"]["id"]
    sent = {"prompt": "x", "images": urls}
    created = await visit.api("/v1/predictions", {"version": version, "input": sent})
    page = (await visit.to(f"/p/{created['id']}")).page
    snippet = await visit.snippet("Command")
    for name in ("images-1.png", "images-2.png"):
        assert f"images=@{name}" in snippet
        async with page.expect_download() as download:
            await page.locator(".code").get_by_role("link", name=name).click()
        await (await download.value).save_as(picture.with_name(name))
    await run(["sh", "-c", snippet], picture.parent)
    assert (await newest(visit))["input"] == sent


async def test_code_for_the_official_clients_has_the_address_of_the_local_server(visit: Any) -> None:
    await visit.to("/black-forest-labs/flux-schnell")
    await visit.text("prompt").fill('a "fox"')
    code = await visit.snippet("Python client")
    ast.parse(code)
    assert f'"REPLICATE_BASE_URL": "{visit.origin}"' in code
    assert 'replicate.run("black-forest-labs/flux-schnell", input={' in code
    code = await visit.snippet("JavaScript")
    assert f'baseUrl: "{visit.origin}/v1"' in code
    assert 'prompt: "a \\"fox\\"",' in code


async def test_code_for_replicate_has_the_published_version_and_no_local_address(visit: Any) -> None:
    published = (await visit.api("/v1/models/stability-ai/sdxl"))["published_version"]
    page = (await visit.to("/stability-ai/sdxl")).page
    await visit.text("prompt").fill("a fox")
    place = page.get_by_label("Runs on")
    for kind in ("Python client", "JavaScript", "curl"):
        assert published in await visit.snippet(kind)
    await place.select_option("On Replicate")
    for kind in ("Command", "Python", "Python client", "JavaScript", "curl"):
        code = await visit.snippet(kind)
        assert "stability-ai/sdxl" in code or published in code
        assert "127.0.0.1" not in code
        assert "local" not in code
        if "Python" in kind:
            ast.parse(code)
    assert "https://api.replicate.com/v1/predictions" in code
    assert '"Authorization: Bearer $REPLICATE_API_TOKEN"' in code
    await expect(page.get_by_text("with your token in REPLICATE_API_TOKEN")).to_be_visible()
    await visit.to("/black-forest-labs/flux-schnell")
    await expect(place).to_have_value("away")
    await visit.to("/me/every")
    await expect(place).to_be_hidden()
    assert visit.origin in await visit.snippet("Command")


async def test_a_version_id_published_on_replicate_runs_on_the_local_server(visit: Any) -> None:
    await visit.to("/replicate/hello-world")
    await visit.text("text").fill("you")
    said = await run(["sh", "-c", await visit.snippet("curl")], Path.cwd())
    assert '"output":"hello you"' in said


async def test_code_for_the_official_clients_writes_output_files(visit: Any) -> None:
    await visit.to("/black-forest-labs/flux-schnell")
    assert "write_bytes(file.read())" in await visit.snippet("Python client")
    assert "await writeFile(`output-${place}.webp`, file);" in await visit.snippet("JavaScript")
    await visit.page.get_by_label("output_format", exact=True).select_option("png")
    code = await visit.snippet("Python client")
    assert 'Path(f"output-{place}.png")' in code
    ast.parse(code)
    await visit.to("/meta/musicgen")
    assert 'Path("output.wav").write_bytes(output.read())' in await visit.snippet("Python client")
    assert 'await writeFile("output.wav", output);' in await visit.snippet("JavaScript")


async def test_shell_quoting_keeps_every_word_unchanged(visit: Any) -> None:
    words = await visit.pure("quote", "given.map(m.shell)", NASTY)
    said = subprocess.run(["sh", "-c", f"printf '%s\\0' {' '.join(words)}"], capture_output=True, check=True)  # noqa: ASYNC221 - it takes a moment only
    assert said.stdout.decode().split("\0")[:-1] == NASTY


async def test_python_literals_keep_every_value_unchanged(visit: Any) -> None:
    value = {"text": NASTY, "numbers": [0, -1.5, 1e300, 2**53], "other": [None, True, False, {}, []], "__proto": 1}
    assert ast.literal_eval(await visit.pure("quote", "m.python(given)", value)) == value


async def test_javascript_literals_keep_every_value_unchanged(visit: Any) -> None:
    value = {"text": NASTY, "numbers": [0, -1.5, 1e300, 2**53], "other": [None, True, False, {}, []]}
    literal = await visit.pure("quote", "m.js(given)", value)
    assert await visit.page.evaluate(f"({literal})") == value
