"""Writes what a command prints: data to stdout, everything else to stderr."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from replicate_job.cli.exits import status_code
from replicate_job.cli.streams import is_shown, tell, write
from replicate_job.errors import ReplicateJobError
from replicate_job.flow.deadline import growing_timeout
from replicate_job.flow.subject import Known, about, facts
from replicate_job.job import Job, Kept, Result
from replicate_job.journal.protocol import Journal
from replicate_job.outputs.discover import find_files
from replicate_job.wire.prediction import Prediction, read_bar
from replicate_job.wire.stand_in import LEFT_OUT, is_notice

HEARTBEAT = 15.0
"""Seconds between two lines about the same status, under ``-v``."""


_encoder = msgspec.json.Encoder(enc_hook=str, decimal_format="number")


def print_json(value: Any) -> None:
    """Print JSON: indented on a terminal, elsewhere on one line."""
    text = _encoder.encode(value)
    if is_shown():
        text = msgspec.json.format(text, indent=2)
    write(text + b"\n")


def print_text(text: str) -> None:
    """Print a model's text unchanged; on a terminal, end its last line."""
    if is_shown():  # a progress bar rewrites its line with ``\r``: each state becomes a line
        text = "".join(f"{line}\n" for line in text.splitlines())
    write(text)


def print_response(result: Result, schema: dict[str, Any] | None = None) -> None:
    """Print the response as JSON, with paths of files as ``shorten`` makes them. On a terminal long values are cut."""
    response = _response(result)
    if is_shown():
        from replicate_job.cli.brief import brief  # noqa: PLC0415 - only for a terminal

        response = brief(result, response, schema)
    print_json(response)


def _response(result: Result) -> dict[str, Any]:
    response = result.to_dict()
    if result.files:
        response["files"] = [shorten(path) for path in result.files]
    if result.steps:
        response["steps"] = {name: _response(step) for name, step in result.steps.items()}
    return response


def print_output(result: Result, schema: dict[str, Any] | None = None) -> None:
    """Print the output alone: its text, a line for each of its files, or JSON. Nothing if there is no output."""
    from replicate_job.cli.brief import text_of  # noqa: PLC0415 - only for --output-only

    if result.output is None:
        return
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(result.urls.get("get", "")))
    words = text_of(result.output, schema, origin=origin)
    items = result.output if isinstance(result.output, list) else [result.output]
    if words is not None:
        write(words if words.endswith("\n") else f"{words}\n")
    elif len(files := find_files(result.output, schema, origin=origin)) == len(items) > 0:
        places = [shorten(path) for path in result.files] if result.files else [file.url for file in files]
        write("".join(f"{place}\n" for place in places))
    else:
        print_json(result.output)


def name_damaged(journal: Journal) -> None:
    """Name on stderr the jobs whose rows in the journal cannot be read."""
    for line in journal.damaged.values():
        tell(f"error: {line}")


def shorten(file: Kept) -> str:
    """The file's path, relative to the working directory if the file is below it."""
    try:
        return str(file.relative_to(Path.cwd()) if isinstance(file, Path) else file)
    except (ValueError, FileNotFoundError):  # elsewhere, or the working directory was deleted
        return str(file)


class Text:
    """Text that is streamed to stdout. ``whole`` is the text so far."""

    def __init__(self) -> None:
        self.whole = ""

    def emit(self, piece: str) -> None:
        write(piece)
        self.whole += piece

    def close(self) -> None:
        """End the last line, so that the shell's prompt begins a new one."""
        if is_shown() and not self.whole.endswith("\n"):
            write("\n")

    def has_all_of(self, result: Result) -> bool:
        """Whether the text is the whole output."""
        output = result.output
        if isinstance(output, list) and all(isinstance(item, str) for item in output):
            return self.whole in {"".join(output), "\n".join(output)}
        return output in {None, self.whole} if isinstance(output, str | None) else False


class Shown(msgspec.Struct, frozen=True):
    """How a result is printed.

    ``text`` is the text that was streamed before, None without streaming. With ``alone``, only the output is printed.
    ``schema`` is the model's OpenAPI document, None if it is not known.
    """

    text: Text | None = None
    alone: bool = False
    schema: dict[str, Any] | None = None

    def lacks_schema(self, result: Result) -> bool:
        """Whether ``schema`` is None but needed to tell a file from text, or the pieces of one text from a list."""
        is_list = isinstance(result.output, list)
        is_unclear = is_list or isinstance(result.output, str) if self.alone else is_list and is_shown()
        return is_unclear and self.schema is None

    def report(self, result: Result) -> None:
        """Print the response, or only the output.

        If text was streamed, the response goes to stderr, and only if it has files or another output than the text.
        """
        if self.text and self.text.whole:
            self.text.close()
            is_over = result.status not in {"starting", "processing"}
            if result.files or (is_over and not self.text.has_all_of(result)):
                tell(msgspec.json.encode(_response(result), enc_hook=str).decode())
        elif self.alone:
            for part in result.gathered:
                print_output(part, self.schema)
        else:
            print_response(result, self.schema)


@contextmanager
def print_carried(shown: Shown = Shown()) -> Iterator[None]:  # noqa: B008 - the default is immutable
    """Print the result of an error that the block raises, so that a paid prediction is shown if a later step fails."""
    try:
        yield
    except ReplicateJobError as error:
        if error.result:
            shown.report(error.result)
        raise


def conclude(  # noqa: PLR0913 - most are passed by name
    result: Result,
    job: Job,
    *,
    line: Callable[..., str],
    ephemeral: bool = False,
    quiet: bool = False,
    saves: bool = False,
    key: str | None = None,
) -> int:
    """Write to stderr why a prediction or a training is not a success, and return the exit code.

    ``line`` makes the command line of a hint. With ``ephemeral``, the API's server has ended, and its predictions with
    it. With ``quiet``, nothing is written about a prediction that still runs because of ``--no-wait``. ``saves`` says
    that outputs are to be kept. ``key`` is the key that the user gave, None if the user gave no key.
    """
    with about(known(result)):
        if job.wait_for_completion or result.status not in {"starting", "processing"}:
            _explain_status(result, job, line, ephemeral=ephemeral)
            if key and result.status in {"failed", "canceled", "aborted"}:
                tell(f"the key {key!r} stays with it: another key makes a new {result.kind}")
        elif not quiet:
            keeps = ", and keeps its outputs" if saves else ""
            goes_on = line("wait", result.prediction_id)
            tell(f"{result.kind} {result.prediction_id} is left running: {goes_on} waits for it{keeps}")
    return status_code(result.status, waited=job.wait_for_completion)


def known(result: Result) -> Known:
    """The fields that lines about this result have in a log of JSON."""
    return Known(key=result.key, prediction=result.prediction_id, model=result.model)


def _explain_status(result: Result, job: Job, line: Callable[..., str], *, ephemeral: bool) -> None:
    name = f"{result.kind} {result.prediction_id}"
    match result.status:
        case "succeeded":
            pass
        case "failed":
            tell(f"error: {name} failed: {result.error or 'the API gives no reason'}")
        case "canceled" | "aborted":
            tell(f"{name} was {result.status}")
        case status if job.wait_for_completion:
            budget = job.budget or 0.0
            problem = f"{name} is still {status} after {budget:g} s"
            if ephemeral:
                again = line("resume", "--timeout", growing_timeout(budget))
                tell(f"{problem}, and ended with the local server: {again} runs it again, with more time")
            else:
                goes_on, ends = line("wait", result.prediction_id), line("cancel", result.prediction_id)
                tell(f"{problem} and is left running: {goes_on} goes on, {ends} ends it")


class LineReporter:
    """Writes warnings, and the inputs that a stand-in ignored, to stderr. With ``quiet`` it writes only errors.

    With ``verbose`` it also writes notes, the model's logs, and a line about the job after ``every`` seconds without
    a line.
    """

    def __init__(
        self,
        *,
        verbose: bool = False,
        quiet: bool = False,
        every: float = HEARTBEAT,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verbose, self._quiet, self._every, self._now = verbose, quiet, every, now
        self._status, self._told = "", -every
        self._shown: dict[str, int] = {}  # for each prediction, how many characters of its logs were shown
        self._notices: set[str] = set()  # the notices of stand-ins that were written

    def error(self, line: str) -> None:
        self.line(f"error: {line}")

    def warn(self, line: str) -> None:
        if is_notice(line):
            if line in self._notices:
                return
            self._notices.add(line)
        if not self._quiet:
            self.line(f"warning: {line}")

    def tell(self, line: str) -> None:
        if not self._quiet:
            self.line(line)

    def note(self, line: str) -> None:
        if self._verbose:
            self.line(line, "debug")

    async def beat(self) -> None:
        """Write notes of how long the job has waited, because a blocking wait reports nothing until its end."""
        start = self._told = self._now()
        while True:
            await asyncio.sleep(max(0.0, self._told + self._every - self._now()))
            if self._now() >= self._told + self._every:
                self._told = self._now()
                self.note(f"waiting, {self._told - start:.0f} s so far")

    def show_logs(self, prediction: Prediction) -> None:
        """Write the new lines of the logs as notes.

        Lines about inputs that a stand-in ignored are also written without ``verbose``. The line which says
        that a model is a stand-in is written as a warning, once for each model.
        """
        logs, shown = prediction.logs or "", self._shown.get(prediction.id, 0)
        whole = logs.rfind("\n") + 1 if not prediction.is_terminal else len(logs)
        for line in logs[shown:whole].splitlines():
            if is_notice(line) and line not in self._notices:
                self.warn(line)
            elif line.startswith(LEFT_OUT) and not self._verbose:
                self.tell(line)
            else:
                self.note(f"| {line}")
        self._shown[prediction.id] = max(shown, whole)

    def observed(self, prediction: Prediction) -> None:
        with about(Known(**{"prediction": prediction.id} | facts())):
            self._observed(prediction)

    def _observed(self, prediction: Prediction) -> None:
        self.show_logs(prediction)
        now = self._now()
        if prediction.status == self._status and now - self._told < self._every:
            return
        self._status, self._told = prediction.status, now
        progress = read_bar(prediction.logs)
        self.note(f"{prediction.id} {prediction.status}" + (f" {progress.fraction:.0%}" if progress else ""))

    def line(self, text: str, level: str = "") -> None:
        tell(text, level)
