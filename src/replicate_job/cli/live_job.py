"""The live line of one job on a terminal: status, elapsed time, and the bar from the model's logs."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from replicate_job.cli.console import LiveConsole
from replicate_job.cli.output import LineReporter
from replicate_job.cli.streams import drawing
from replicate_job.wire.prediction import Prediction, read_bar


class _Bar(ProgressColumn):
    """A column with the progress bar that the model writes to its logs; empty until the logs have a bar."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = BarColumn(bar_width=24)

    def render(self, task: Task) -> object:  # type: ignore[override] # rich takes any renderable
        return self._bar.render(task) if task.total else Text("")


class LiveReporter(LineReporter):
    """Reports a job with a live line. At the context's end the line disappears, and the lines above it stay."""

    def __init__(self, *, verbose: bool = False) -> None:
        super().__init__(verbose=verbose)
        self._console = LiveConsole()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            _Bar(),
            TextColumn("{task.fields[steps]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("starting", total=None, steps="")
        self._drawing = drawing(self)

    def __enter__(self) -> Self:
        self._progress.start()
        self._drawing.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._drawing.__exit__(kind, error, at)
        self.hide()

    def hide(self) -> None:
        with suppress(OSError):  # the terminal is gone
            self._progress.stop()

    def reveal(self) -> None:
        with suppress(OSError):
            self._progress.start()

    def observed(self, prediction: Prediction) -> None:
        self.show_logs(prediction)
        progress = read_bar(prediction.logs)
        described = f"{prediction.status} {prediction.id}"
        if progress and progress.total:
            steps = f"{progress.current}/{progress.total}"
            self._progress.update(
                self._task, description=described, total=1.0, completed=progress.fraction, steps=steps
            )
        else:
            self._progress.update(self._task, description=described)

    async def beat(self) -> None:
        """Do nothing: the elapsed time in the live line shows that the job still runs."""

    def line(self, text: str, level: str = "") -> None:  # noqa: ARG002 - level is for logs of JSON, which have no live line
        self._console.tell(text)
