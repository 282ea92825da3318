"""The job, batch or prediction that the current task works for. Log lines name it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

Facts = dict[str, str]
"""The known values of ``key``, ``prediction``, ``model`` and ``batch``. Unknown values are left out."""


class Subject(Protocol):
    """A job or batch that log lines can name. ``facts`` is called only when a line is written."""

    def facts(self) -> Facts: ...


class Known:
    """A subject with fixed values. Empty values are left out."""

    def __init__(self, **facts: str) -> None:
        self._facts = {name: value for name, value in facts.items() if value}

    def facts(self) -> Facts:
        return self._facts


SUBJECT: ContextVar[Subject | None] = ContextVar("subject", default=None)
"""The current task's subject. None for a task that serves many jobs together."""


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
