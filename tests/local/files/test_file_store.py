"""Files on disk are stored completely or not at all, under names that cannot lead to other folders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from replicate_job.local.files.file_store import Drafts, FileTooLargeError, is_key, is_name, read_file, safe_name


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@given(st.text(max_size=300))
@example("..")
@example("../../etc/passwd")
@example("-rf")
@example("a/..")
@example(".\\..\\x.png")
@example("\0.png")
@example("0:.0.")
@example("0:.0.----------------x")
def test_every_safe_name_is_one_plain_path_segment(text: str) -> None:
    name = safe_name(text)
    assert is_name(name)
    assert Path("/folder", name).resolve() == Path("/folder") / name
    assert len(name.encode()) <= 128
    assert name not in {".", ".."}
    assert safe_name(name) == name


@given(st.text(max_size=40))
def test_every_valid_name_or_key_is_one_plain_path_segment(text: str) -> None:
    if is_name(text) or is_key(text):
        assert Path("/folder", text).resolve() == Path("/folder") / text


@pytest.mark.parametrize("text", ["a/b", "..", ".hidden", "a\n", "", "é", "a\0", "%2e%2e", "-x", "a" * 200])
def test_names_that_lead_to_other_folders_are_invalid(text: str) -> None:
    assert not is_name(text)
    assert not is_key(text)


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("my picture.png", "my-picture.png"),
        ("写真.png", "file.png"),
        ("C:\\Users\\me\\voice.WAV", "voice.WAV"),
        ("archive.tar.gz", "archive.tar.gz"),
        (".bashrc", "bashrc"),
        ("x" * 300 + ".safetensors", "x" * 100 + ".safetensors"),
        ("no-suffix", "no-suffix"),
    ],
)
def test_a_safe_name_keeps_the_extension(given_name: str, name: str) -> None:
    assert safe_name(given_name) == name


async def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    drafts, shelf = Drafts(tmp_path / "unfinished"), tmp_path / "shelf"
    async with drafts.filled(chunks(b"one", b"two"), 6) as draft:
        assert read_file(shelf / "a") is None
        made = draft.store(shelf, "a", id="a", name="x.txt", content_type="text/plain", created_at=1.0)
    assert made == read_file(shelf / "a")
    assert (made.path.read_bytes(), made.size) == (b"onetwo", 6)
    assert list((tmp_path / "unfinished").iterdir()) == []


async def test_a_file_over_the_size_limit_leaves_no_file(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path / "unfinished")
    with pytest.raises(FileTooLargeError, match="larger than 5 bytes"):
        async with drafts.filled(chunks(b"one", b"two"), 5):
            pass
    assert list((tmp_path / "unfinished").iterdir()) == []


def test_unfinished_files_of_a_dead_server_are_removed_at_the_next_start(tmp_path: Path) -> None:
    draft = Drafts(tmp_path / "unfinished").new()
    draft.write(b"half")
    Drafts(tmp_path / "unfinished")
    assert list((tmp_path / "unfinished").iterdir()) == []
    draft.discard()


FACTS = b'{"id":"a","name":"%b","content_type":"text/plain","size":1,"sha256":"","created_at":%b}'


@pytest.mark.parametrize(
    "facts",
    [
        b"",
        b"[]",
        b"{",
        b'{"id":1}',
        b'{"id":"a"}',
        FACTS % (b"a", b"1e300"),
        FACTS % (b"a", b"-1"),
        FACTS % (rb"a\r\nX: y", b"1"),
        FACTS % (b"../a", b"1"),
    ],
)
def test_a_folder_with_unreadable_metadata_does_not_count_as_a_file(tmp_path: Path, facts: bytes) -> None:
    (tmp_path / "facts.json").write_bytes(facts)
    (tmp_path / "content").write_bytes(b"x")
    assert read_file(tmp_path) is None
    (tmp_path / "facts.json").write_bytes(FACTS % (b"a", b"1"))
    assert read_file(tmp_path)
