from __future__ import annotations

import pytest

from replicate_job.serving.token import has_token


@pytest.mark.parametrize("given", [b"Bearer r8_a", b"bearer r8_a", b"Token r8_a", b"TOKEN   r8_a ", b"bEARER r8_a"])
def test_the_token_is_known_in_both_schemes_in_any_case(given: bytes) -> None:
    assert has_token(given, b"r8_a")


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"r8_a",
        b"Bearer",
        b"Bearer ",
        b"Bearer r8_",
        b"Bearer r8_ab",
        b"Basic r8_a",
        b"Bearer\tr8_a",
        b"Bearer \xff",
    ],
)
def test_anything_else_is_not(given: bytes) -> None:
    assert not has_token(given, b"r8_a")
