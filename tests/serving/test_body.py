"""Limits of request bodies that the tests of the endpoints (``tests/local/routes``) do not reach."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from replicate_job.serving.answer import RefusedError
from replicate_job.serving.body import read_object


def encode(value: Any, calls: int) -> bytes:
    return encode(value, calls - 1) if calls else msgspec.json.encode(value)


def test_a_body_deep_enough_to_decode_can_also_be_encoded() -> None:
    written = 0
    for levels in range(sys.getrecursionlimit() - 200, sys.getrecursionlimit()):
        with suppress(RefusedError):
            value = read_object(b'{"a":' + b"[" * levels + b"]" * levels + b"}")
            written += bool(encode({"input": value}, 20))
    assert written < 200 or sys.version_info >= (3, 12)  # there is a limit


@pytest.mark.long
def test_a_small_body_with_very_many_values_is_refused_as_too_large() -> None:
    with pytest.raises(RefusedError) as caught:
        read_object(b'{"input":[' + b'{"":0},' * 2**20 + b"0]}")
    assert caught.value.answer.status == 413
