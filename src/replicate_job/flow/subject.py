"""The job, batch or prediction that the code at hand works for: lines of a log say which it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

Facts = dict[str, str]
"""``key``, ``prediction``, ``model`` and ``batch``, as far as they are known; none is empty."""


class Subject(Protocol):
    """What lines can be about. It is asked only when a line is written."""

    def facts(self) -> Facts: ...


class Known:
    """A subject of which all that is known is known already. What is empty is left out."""

    def __init__(self, **facts: str) -> None:
        self._facts = {name: value for name, value in facts.items() if value}

    def facts(self) -> Facts:
        return self._facts


SUBJECT: ContextVar[Subject | None] = ContextVar("subject", default=None)
"""Of this task. A task that serves many at once has none."""


def facts() -> Facts:
    subject = SUBJECT.get()
    return subject.facts() if subject else {}


@contextmanager
def about(subject: Subject | None) -> Iterator[None]:
    token = SUBJECT.set(subject)
    try:
        yield
    finally:
        SUBJECT.reset(token)
