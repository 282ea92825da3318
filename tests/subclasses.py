"""Subclasses of str, int and float, as libraries have them."""

from __future__ import annotations


class Text(str):
    """A text that is shown in another form, as a class of markup may do."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"<{self!r}>"


class Whole(int):
    pass


class Real(float):
    pass
