"""A job is a state machine: its states, the facts that each implies, and what comes next. No I/O.

The flow asks here what to do with a job, and every store what it may write: no state without the facts that it
implies, whatever failed in between. It imports nothing of the flow, so that the stores can use it.
"""

from __future__ import annotations

from typing import Literal

from replicate_job.wire.prediction import TERMINAL

State = Literal["claimed", "intended", "uncertain", "created", "ended", "collected", "refused"]
"""How far a job came.

``claimed``: taken up, nothing sent. ``intended``: a create request was sent or is about to be; its answer is not known.
``uncertain``: it could not be found out. ``created``: the prediction's id is known. ``ended``: it reached a terminal
status. ``collected``: its outputs are kept, or were not to be. ``refused``: certainly never created.
"""
UNFINISHED: tuple[State, ...] = ("claimed", "intended", "uncertain", "created", "ended")
WITH_ID: tuple[State, ...] = ("created", "ended", "collected")
"""States in which the prediction's id is known."""
OVER: tuple[State, ...] = ("ended", "collected")
"""States in which the prediction has a terminal status."""

Step = Literal["prepare", "look up", "wait", "collect", "done"]
"""What a job needs next.

``prepare``: nothing was sent, so the request is made and sent. ``look up``: whether there is a prediction has to be
found out. ``wait``: for the end of its prediction. ``collect``: its outputs. ``done``: nothing.
"""


def lacking(state: State, prediction_id: str | None, status: str | None) -> str:
    """Name the fact that ``state`` implies and that is missing; empty where all are there.

    ``status`` is the prediction's.
    """
    if state in WITH_ID and not prediction_id:
        return "the prediction's id"
    if state in OVER and status not in TERMINAL:
        return "the prediction's end"
    return ""


def next_step(state: State, prediction_id: str | None, status: str | None) -> Step:
    """What to do next, by the facts: a state that says more than they do is not believed.

    A row that lacks a fact is doubtful and not absent: only ``claimed`` and ``refused`` lead to a create request
    without a look into the account's list.
    """
    if prediction_id:
        if status not in TERMINAL:
            return "wait"
        return "done" if state == "collected" else "collect"
    return "prepare" if state in {"claimed", "refused"} else "look up"


def state_of(status: str, *, collected: bool = False) -> State:
    """The state of a job by its prediction's status; ``collected``: there is nothing left to do."""
    if status not in TERMINAL:
        return "created"
    return "collected" if collected else "ended"
