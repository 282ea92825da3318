"""Reports of a running call: to the package's logger, and to the caller's own function."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

import msgspec

from replicate_job.flow.subject import facts
from replicate_job.outputs.discover import as_text
from replicate_job.wire.prediction import Prediction, read_bar
from replicate_job.wire.stand_in import is_notice, notices

_log = logging.getLogger("replicate_job")


class Progress(msgspec.Struct, frozen=True):
    """A prediction as it was just observed, for ``on_progress``.

    ``logs`` are its logs so far. ``fraction`` is from 0 to 1, from the last progress bar (tqdm) in the logs; None
    without one. ``text`` is the output's text so far; None if there is none.
    """

    prediction_id: str
    status: str
    logs: str = ""
    fraction: float | None = None
    text: str | None = None


OnProgress = Callable[[Progress], object]
"""A function that is called in the event loop's thread, and blocks the loop. Its exception ends the call, but not the
prediction."""


def _write(level: int, line: str, **known: str) -> None:
    if _log.isEnabledFor(level):
        _log.log(level, "%s", line, extra=facts() | known)


class CallReporter:
    """Reports to the logger ``replicate_job``, and passes observed predictions to ``on_progress``.

    A log record about a job has the attributes ``key``, ``prediction``, ``model`` and ``batch``, as far as known.
    """

    def __init__(self, on_progress: OnProgress | None = None) -> None:
        self._on_progress = on_progress
        self._notices: set[str] = set()  # the stand-ins' lines that were reported

    def error(self, line: str) -> None:
        _write(logging.ERROR, line)

    def warn(self, line: str) -> None:
        if is_notice(line):
            if line in self._notices:
                return
            self._notices.add(line)
        _write(logging.WARNING, line)

    def tell(self, line: str) -> None:
        _write(logging.INFO, line)

    def note(self, line: str) -> None:
        _write(logging.INFO, line)

    def observed(self, prediction: Prediction) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            _write(logging.DEBUG, f"{prediction.id} is {prediction.status}", prediction=prediction.id)
        for line in notices(prediction.logs):
            self.warn(line)
        if self._on_progress:
            bar, text = read_bar(prediction.logs), as_text(prediction.output)
            fraction = bar.fraction if bar else None
            progress = Progress(prediction.id, prediction.status, prediction.logs or "", fraction, text)
            _call(self._on_progress, progress)


def _call(on_progress: OnProgress, progress: Progress) -> None:
    try:
        answer = on_progress(progress)
    except asyncio.CancelledError as error:  # raised by the function itself: this call was not cancelled
        raise RuntimeError("on_progress raised CancelledError") from error
    if isinstance(answer, Coroutine):
        answer.close()
        raise TypeError("on_progress returned a coroutine, which nothing awaits: give a function that is not async")
