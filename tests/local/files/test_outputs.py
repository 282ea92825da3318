"""Output files of models."""

from __future__ import annotations

import asyncio
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from replicate_job.local.files.file_store import Draft, Drafts
from replicate_job.local.files.outputs import Outputs
from replicate_job.local.origin import ORIGIN
from replicate_job.wire import data_url

FILE = {"type": "string", "format": "uri"}
ID = "p" * 26


def document(output: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"components": {"schemas": {"Output": output, **more}}}


def url(text: str, kind: str = "text/plain") -> str:
    return data_url.encode(kind, text.encode())


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return open_outputs(tmp_path)


def open_outputs(folder: Path) -> Outputs:
    return Outputs(folder / "outputs", Drafts(folder / "unfinished"))


def names(outputs: Outputs, kept: list[str]) -> dict[str, str]:
    """The names and contents of the files at these addresses."""
    found = {}
    for address in kept:
        origin, _, rest = address.partition("/outputs/")
        prediction, _, name = rest.partition("/")
        file = outputs.get(prediction, name)
        assert (origin, prediction) == (ORIGIN, ID)
        assert file
        found[name] = file.path.read_text()
    return found


async def test_an_output_file_becomes_a_url_that_works_after_a_restart(tmp_path: Path, outputs: Outputs) -> None:
    kept = await outputs.store(ID, url("hello", "image/webp"), document(FILE))
    assert kept == f"{ORIGIN}/outputs/{ID}/output.webp"
    file = open_outputs(tmp_path).get(ID, "output.webp")
    assert file
    assert (file.path.read_text(), file.content_type, file.size) == ("hello", "image/webp", 5)


async def test_files_of_a_list_that_were_stored_one_by_one_are_not_stored_again_with_the_whole_list(
    tmp_path: Path, outputs: Outputs
) -> None:
    listed = document({"type": "array", "items": FILE})
    parts = [await outputs.store(ID, url(str(number)), listed, number) for number in range(3)]
    whole = await outputs.store(ID, [url(str(number)) for number in range(3)], listed)
    assert whole == parts
    assert names(outputs, parts) == {f"out-{number}.txt": str(number) for number in range(3)}
    assert len(list((tmp_path / "outputs" / ID).iterdir())) == 3


async def test_files_are_found_in_objects_and_lists_through_references_and_alternatives(outputs: Outputs) -> None:
    fields = {
        "picture": {"allOf": [{"$ref": "#/components/schemas/Picture"}]},
        "maybe": {"anyOf": [{"type": "null"}, FILE]},
        "deep": {"type": "array", "items": {"type": "object", "properties": {"mask": FILE | {"nullable": True}}}},
        "text": {"type": "string"},
        "any": {},
    }
    value = {
        "picture": url("1"),
        "maybe": url("2"),
        "deep": [{"mask": url("3")}, {"mask": None}],
        "text": url("4"),
        "any": [url("5"), "data", 7],
        "extra": url("6"),
    }
    kept = await outputs.store(ID, value, document({"type": "object", "properties": fields}, Picture=FILE))
    assert (kept["text"], kept["any"][1:], kept["deep"][1]) == (url("4"), ["data", 7], {"mask": None})
    files = [kept["picture"], kept["maybe"], kept["deep"][0]["mask"], kept["any"][0], kept["extra"]]
    assert names(outputs, files) == {
        "picture.txt": "1",
        "maybe.txt": "2",
        "deep-0-mask.txt": "3",
        "any-0.txt": "5",
        "extra.txt": "6",
    }


async def test_fields_with_the_same_safe_name_get_different_files(outputs: Outputs) -> None:
    fields = ("a b", "a-b", "a/b", "../up", "..", "", "é", "ü", "x" * 500, "x" * 501)
    value = {name: url(str(number)) for number, name in enumerate(fields)}
    kept = await outputs.store(ID, value, {})
    assert sorted(names(outputs, list(kept.values())).values()) == sorted(map(str, range(len(fields))))


@pytest.mark.parametrize("text", ["data:image/png;base64,****", "https://example.com/x.png", "data", ""])
async def test_text_that_is_not_a_data_url_stays_unchanged_and_stores_no_file(
    tmp_path: Path, outputs: Outputs, text: str
) -> None:
    assert await outputs.store(ID, text, document(FILE)) == text
    assert not (tmp_path / "outputs").exists()
    assert not list((tmp_path / "unfinished").iterdir())


async def test_a_large_file_takes_little_memory_beside_its_own_text(outputs: Outputs) -> None:
    text = url("x" * 30_000_000, "application/zip")
    tracemalloc.start()
    try:
        await outputs.store(ID, text, document(FILE))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    file = outputs.get(ID, "output.zip")
    assert file
    assert file.size == 30_000_000


class SlowDrafts(Drafts):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._loop, self.is_begun, self.goes_on = asyncio.get_running_loop(), asyncio.Event(), Event()

    def new(self, limit: int | None = None) -> Draft:
        self._loop.call_soon_threadsafe(self.is_begun.set)
        self.goes_on.wait(10)
        return super().new(limit)


async def test_files_that_are_stored_after_a_cancellation_are_removed_too(tmp_path: Path) -> None:
    asyncio.get_running_loop().set_default_executor(
        ThreadPoolExecutor(1)
    )  # with one thread, the second write waits for the first
    drafts, listed = SlowDrafts(tmp_path / "unfinished"), document({"type": "array", "items": FILE})
    outputs = Outputs(tmp_path / "outputs", drafts)
    begun = asyncio.create_task(outputs.store(ID, [url("first"), url("second")], listed))
    await drafts.is_begun.wait()
    begun.cancel()
    await asyncio.wait([begun])
    outputs.forget(ID)
    drafts.goes_on.set()
    again = await outputs.store(ID, [url("third"), url("fourth")], listed)
    assert list(names(outputs, again).values()) == ["third", "fourth"]


async def test_removing_outputs_leaves_those_of_other_predictions(tmp_path: Path, outputs: Outputs) -> None:
    other = "q" * 26
    for prediction in (ID, other):
        await outputs.store(prediction, url("x"), document(FILE))
    outputs.remove(ID)
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == [other]
    outputs.remove(ID)
    assert outputs.get(ID, "output.txt") is None
    assert outputs.get(other, "output.txt")


@pytest.mark.parametrize(
    ("prediction", "name"),
    [("..", "files"), (ID, ".."), (ID, "../" + ID), ("", ""), (ID, ""), ("A" * 26, "output.txt")],
)
async def test_names_that_lead_to_other_folders_find_and_remove_nothing(
    tmp_path: Path, outputs: Outputs, prediction: str, name: str
) -> None:
    await outputs.store(ID, url("x"), document(FILE))
    assert outputs.get(prediction, name) is None
    if prediction != ID:
        outputs.remove(prediction)
    assert (tmp_path / "outputs" / ID / "output.txt" / "content").is_file()


async def test_nothing_is_written_for_an_invalid_prediction_id(outputs: Outputs) -> None:
    with pytest.raises(ValueError, match="not the id"):
        await outputs.store("../x", url("x"), document(FILE))
