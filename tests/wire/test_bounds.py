"""How much memory the values of a JSON body may take."""

from __future__ import annotations

import pytest

from replicate_job.wire.bounds import is_heavy

pytestmark = pytest.mark.long
SIZE = 8 * 2**20


def repeated(value: bytes) -> bytes:
    return b"[" + value * (SIZE // len(value)) + b"0]"


@pytest.mark.parametrize("value", [b'{"":0},', b"[],", b"{},", b'"",', b"[" * 100 + b"0" + b"]" * 100 + b","])
def test_many_small_values_count_as_heavy(value: bytes) -> None:
    assert is_heavy(repeated(value))


@pytest.mark.parametrize("character", ["\N{PARROT}".encode(), rb"\ud83e\udd9c"], ids=["itself", "escaped"])
def test_a_long_text_counts_as_four_times_as_heavy_if_it_has_one_emoji(character: bytes) -> None:
    body = b'"' + character + b"x" * SIZE + b'"'
    assert is_heavy(body, 3 * SIZE)
    assert not is_heavy(body, 5 * SIZE)
    assert not is_heavy(body.replace(character, b""), 3 * SIZE)


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b"a,{[" * (SIZE // 4) + b'"',
        b'"' + b'\\",{[' * (SIZE // 5) + b'\\\\"',
        repeated(b"0.12345678901234567,"),
        repeated(b'{"url": "data:%s"},' % (b"," * 10_000)),
        b'{"":0},' * 100_000,
    ],
    ids=["text", "escapes", "numbers", "texts", "small"],
)
def test_a_body_of_texts_or_long_numbers_does_not_take_too_much_memory(body: bytes) -> None:
    assert not is_heavy(body)
