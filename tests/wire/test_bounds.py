"""What a JSON body may take in memory, whatever its own size."""

from __future__ import annotations

import pytest

from replicate_job.wire.bounds import is_heavy

SIZE = 8 * 2**20


def repeated(value: bytes) -> bytes:
    return b"[" + value * (SIZE // len(value)) + b"0]"


@pytest.mark.parametrize("value", [b'{"":0},', b"[],", b"{},", b'"",', b"[" * 100 + b"0" + b"]" * 100 + b","])
def test_many_small_values_are_heavy(value: bytes) -> None:
    assert is_heavy(repeated(value))


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
def test_texts_and_long_numbers_are_not(body: bytes) -> None:
    assert not is_heavy(body)
