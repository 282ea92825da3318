"""A job is a state machine: its states, the facts that each state implies, and the next step. No I/O.

The flow uses it to decide what to do with a job. Every store uses it to refuse a state without the facts that the state
implies, whatever failed before. It imports nothing of the flow, so that the stores can import it.
"""

from __future__ import annotations

from typing import Literal

from replicate_job.wire.prediction import TERMINAL

State = Literal["claimed", "intended", "uncertain", "created", "ended", "collected", "refused"]
"""How far a job came.

``claimed``: a process has claimed it, and nothing was sent. ``intended``: a create request was sent or is about to be,
and its outcome is not known. ``uncertain``: its outcome could not be found out. ``created``: the prediction's id is
known. ``ended``: the prediction has a terminal status. ``collected``: its outputs are kept, or were not wanted.
``refused``: certainly never created.
"""
UNFINISHED: tuple[State, ...] = ("claimed", "intended", "uncertain", "created", "ended")
WITH_ID: tuple[State, ...] = ("created", "ended", "collected")
"""States in which the prediction's id is known."""
OVER: tuple[State, ...] = ("ended", "collected")
"""States in which the prediction has a terminal status."""

Step = Literal["prepare", "look up", "wait", "collect", "done"]
"""What a job needs next.

``prepare``: make the request and send it, because nothing was sent yet. ``look up``: find out whether there is a
prediction. ``wait``: wait for the end of the prediction. ``collect``: keep its outputs. ``done``: nothing.
"""


def lacking(state: State, prediction_id: str | None, status: str | None) -> str:
    """Name the fact that ``state`` implies and that is missing; empty if none is missing.

    ``status`` is the prediction's.
    """
    if state in WITH_ID and not prediction_id:
        return "the prediction's id"
    if state in OVER and status not in TERMINAL:
        return "the prediction's end"
    return ""


def next_step(state: State, prediction_id: str | None, status: str | None) -> Step:
    """What to do next. The facts decide, and not a state that claims more than the facts show.

    A row that lacks a fact may still have a prediction. So only ``claimed`` and ``refused`` lead to a create request
    without a look at the account's list.
    """
    if prediction_id:
        if status not in TERMINAL:
            return "wait"
        return "done" if state == "collected" else "collect"
    return "prepare" if state in {"claimed", "refused"} else "look up"


def state_of(status: str, *, collected: bool = False) -> State:
    """The state of a job, from its prediction's status. ``collected``: there is nothing left to do."""
    if status not in TERMINAL:
        return "created"
    return "collected" if collected else "ended"
