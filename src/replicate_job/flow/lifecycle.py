"""The states of a job, the values that each state implies, and the next step. No I/O.

The flow uses this module to decide the next step of a job. Every store uses it to refuse a state without the values
that the state implies. The module imports nothing of the flow, so that stores can import it.
"""

from __future__ import annotations

from typing import Literal

from replicate_job.wire.prediction import TERMINAL

State = Literal["claimed", "intended", "uncertain", "created", "ended", "collected", "refused"]
"""The progress of a job.

``claimed``: a process has claimed the job, and no create request was sent. ``intended``: a create request was sent or
is about to be sent, and its outcome is not known. ``uncertain``: the outcome could not be found out. ``created``: the
prediction's id is known. ``ended``: the prediction has a terminal status. ``collected``: the prediction has ended, and
its outputs are kept or were not wanted. ``refused``: certainly no prediction was created.
"""
UNFINISHED: tuple[State, ...] = ("claimed", "intended", "uncertain", "created", "ended")
WITH_ID: tuple[State, ...] = ("created", "ended", "collected")
"""States in which the prediction's id is known."""
OVER: tuple[State, ...] = ("ended", "collected")
"""States in which the prediction has a terminal status."""

Step = Literal["prepare", "look up", "wait", "collect", "done"]
"""The next step of a job.

``prepare``: make the request and send it, since no request was sent yet. ``look up``: find out whether there is a
prediction. ``wait``: wait for the end of the prediction. ``collect``: keep its outputs. ``done``: no further step.
"""


def lacking(state: State, prediction_id: str | None, status: str | None) -> str:
    """The name of a missing value that ``state`` implies; empty if none is missing.

    ``status`` is the prediction's status.
    """
    if state in WITH_ID and not prediction_id:
        return "the prediction's id"
    if state in OVER and status not in TERMINAL:
        return "the prediction's end"
    return ""


def next_step(state: State, prediction_id: str | None, status: str | None) -> Step:
    """The next step. If a state comes without the id or the status that it implies, the id and the status decide.

    A job without an id may still have a prediction. So only ``claimed`` and ``refused`` lead to a create request
    without a look-up before it.
    """
    if prediction_id:
        if status not in TERMINAL:
            return "wait"
        return "done" if state == "collected" else "collect"
    return "prepare" if state in {"claimed", "refused"} else "look up"


def state_of(status: str, *, collected: bool = False) -> State:
    """The state of a job, from its prediction's status. ``collected``: its outputs are kept, or were not wanted."""
    if status not in TERMINAL:
        return "created"
    return "collected" if collected else "ended"
