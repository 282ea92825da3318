"""Snapshots are stored as changes, from which they are restored."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replicate_job.testing.recording.states import changes, state_at
from replicate_job.testing.recording.tape import State

VALUES = st.none() | st.integers() | st.text("ab", max_size=4) | st.lists(st.sampled_from("ab"), max_size=3)


@given(st.lists(st.fixed_dictionaries({"logs": VALUES, "output": VALUES, "status": VALUES}), min_size=1, max_size=6))
def test_every_snapshot_is_restored_from_the_changes(bodies: list[dict[str, Any]]) -> None:
    states = changes([(float(number), body) for number, body in enumerate(bodies)])
    assert [state_at(states, number) for number in range(len(bodies))] == bodies


def test_growing_logs_and_lists_are_stored_as_their_additions() -> None:
    bodies = [{"logs": "1\n", "output": ["a"]}, {"logs": "1\n2\n", "output": ["a", "b"]}]
    _, second = changes([(0.0, bodies[0]), (1.0, bodies[1])])
    assert second == State(1.0, {}, {"logs": "2\n", "output": ["b"]})
