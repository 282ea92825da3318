"""Converts the snapshots of a prediction to the changes between them, and back."""

from __future__ import annotations

from typing import Any

from replicate_job.testing.recording.tape import State

Body = dict[str, Any]


def changes(bodies: list[tuple[float, Body]]) -> list[State]:
    """The changes between snapshots. ``bodies`` are snapshots, each with the seconds since the first one."""
    states, before = [], Body()
    for after, body in bodies:
        changed = {name: value for name, value in body.items() if name not in before or before[name] != value}
        added = {name: new for name in changed if (new := _appended(before.get(name), body[name])) is not None}
        states.append(State(after, {n: v for n, v in changed.items() if n not in added}, added))
        before = body
    return states


def _appended(old: Any, new: Any) -> Any:
    if old and isinstance(old, str) and isinstance(new, str) and new.startswith(old):
        return new[len(old) :]
    if old and isinstance(old, list) and isinstance(new, list) and new[: len(old)] == old:
        return new[len(old) :]
    return None


def state_at(states: list[State], last: int) -> Body:
    """The snapshot after the changes ``states[0]`` to ``states[last]``."""
    body = Body()
    for state in states[: last + 1]:
        body |= state.set
        for name, more in state.added.items():
            body[name] = body[name] + more
    return body
