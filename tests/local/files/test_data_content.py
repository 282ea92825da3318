"""Reading a data URL in blocks; reading it at once is the oracle."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.local.files.data_content import read_data_url
from replicate_job.wire import data_url

HEADS = st.sampled_from(["data:,", "data:;base64,", "data:image/png;base64,", "data:text/plain;charset=utf-8,", "data"])
CONTENTS = st.one_of(
    st.binary(max_size=40).map(lambda content: base64.b64encode(content).decode()),
    st.text("AZaz09+/-_=% \n\t2B3dé", max_size=40),
)


@given(HEADS, CONTENTS, st.integers(1, 12))
def test_in_blocks_of_any_length_the_content_is_the_same_or_refused_alike(head: str, content: str, block: int) -> None:
    url = head + content
    try:
        expected = data_url.decode(url)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - as the oracle
            b"".join(read_data_url(url, block)[1])
        return
    kind, blocks = read_data_url(url, block)
    assert (kind, b"".join(blocks)) == expected


def test_no_block_is_much_larger_than_asked_for() -> None:
    url = data_url.encode("image/png", bytes(5_000_000))
    sizes = [len(block) for block in read_data_url(url)[1]]
    assert sum(sizes) == 5_000_000
    assert max(sizes) <= 2**20
