"""Encoding files as data URLs, and decoding them."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode, urlsafe_b64encode
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.wire.data_url import Head, decode, encode, read_blocks, read_head


@given(st.binary(max_size=200), st.sampled_from(["image/png", "audio/x-wav", "application/vnd.a+json"]))
def test_every_spelling_of_a_data_url_decodes_to_the_same_content(content: bytes, kind: str) -> None:
    plain = b64encode(content).decode()
    broken = "\n".join(plain[i : i + 7] for i in range(0, len(plain), 7))
    forms = [
        encode(kind, content),
        f"data:{kind};base64,{plain}",
        f"DATA:{kind.upper()};charset=x;BASE64,{plain.rstrip('=')}",
        f"data:{kind};base64,{urlsafe_b64encode(content).decode()}",
        f"data:{kind};base64,{quote(plain)}",
        f"data:{kind};base64,{broken}",
        f"data:{kind},{quote(content)}",
    ]

    assert {decode(form) for form in forms} == {(kind, content)}


def test_a_data_url_without_a_type_has_the_type_text_plain() -> None:
    assert decode("data:,a%20b") == ("text/plain", b"a b")
    assert decode("data:;charset=utf-8,ü") == ("text/plain", "ü".encode())


@pytest.mark.parametrize(
    "url",
    ["", "data:", "data:image/png", "data:image/png;base64,a", "data:;base64,a*b=", "data:;base64,ü", "http://a/b,c"],
)
def test_a_malformed_data_url_raises_a_value_error(url: str) -> None:
    with pytest.raises(ValueError, match="data URL"):
        decode(url)


HEADS = ["data:,", "data:;base64,", "data:image/png;base64,", "data:text/plain;charset=utf-8,"]
CONTENTS = st.one_of(
    st.binary(max_size=40).map(lambda content: b64encode(content).decode()),
    st.text("AZaz09+/-_=% \n\t2B3dé", max_size=40),
)


def at_once(content: str) -> bytes:
    """Base64 as the standard library reads it."""
    plain = unquote_to_bytes(content).translate(bytes.maketrans(b"-_", b"+/"), b" \t\r\n\f").rstrip(b"=")
    return b64decode(plain + b"=" * (-len(plain) % 4), validate=True)


@given(st.sampled_from(HEADS), CONTENTS, st.integers(1, 12))
def test_blocks_of_any_length_decode_as_the_standard_library_does(head: str, content: str, block: int) -> None:
    kind, blocks = read_blocks(head + content, block)
    assert kind == (head[5:].partition(";")[0].rstrip(",") or "text/plain")
    try:
        expected = at_once(content) if "base64" in head else unquote_to_bytes(content)
    except binascii.Error:
        with pytest.raises(ValueError, match="data URL"):
            b"".join(blocks)
    else:
        assert b"".join(blocks) == expected


def test_by_default_no_decoded_block_is_larger_than_a_mebibyte() -> None:
    sizes = [len(block) for block in read_blocks(encode("image/png", bytes(5_000_000)))[1]]
    assert sum(sizes) == 5_000_000
    assert max(sizes) <= 2**20


def test_the_head_is_parsed_without_decoding_the_content() -> None:
    assert read_head("data:Image/PNG;charset=x;base64,*") == Head("image/png", is_base64=True, length=32)
    assert read_head("data:,a") == Head("", is_base64=False, length=6)
    assert read_head("data: see below, or above") is None
