"""Compressed bytes are decoded, in whatever chunks they arrive."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.coding import decoded
from replicate_job.errors import NoAnswerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def read(coding: str, packed: bytes, step: int) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(packed), step):
            yield packed[start : start + step]

    return b"".join([block async for block in decoded(chunks(), coding)])


@given(st.lists(st.binary(), min_size=1, max_size=4), st.integers(1, 50), st.integers(0, 20))
async def test_every_member_of_a_gzip_file_is_read_and_padding_is_ignored(
    members: list[bytes], step: int, padding: int
) -> None:
    packed = b"".join(map(gzip.compress, members)) + bytes(padding)

    assert await read("gzip", packed, step) == b"".join(members)


@given(st.binary(), st.integers(2, 50), st.booleans())
async def test_deflate_is_read_with_and_without_a_zlib_header(content: bytes, step: int, is_raw: bool) -> None:  # noqa: FBT001 - given
    packed = zlib.compress(content)[2:-4] if is_raw else zlib.compress(content)

    assert await read("deflate", packed, step) == content


@given(st.binary(), st.integers(1, 50), st.data())
async def test_compressed_bytes_that_end_early_are_an_error(content: bytes, step: int, data: st.DataObject) -> None:
    packed = gzip.compress(content)
    end = data.draw(st.integers(0, len(packed) - 1))

    with pytest.raises(NoAnswerError):
        await read("gzip", packed[:end], step)


async def test_a_small_body_that_expands_to_a_large_file_is_decoded_in_chunks() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield gzip.compress(bytes(20_000_000))

    sizes = [len(block) async for block in decoded(chunks(), "gzip")]

    assert sum(sizes) == 20_000_000
    assert max(sizes) <= 2**20
