"""The results file is removed, moved, cut or replaced while its batch runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replicate_job.testing import Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

PRIVATE = "acme/private"
WORDS = ("batch", PRIVATE, "rows.jsonl", "--results", "results.jsonl")


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(5)


def replace(path: Path) -> None:
    path.unlink()
    path.write_text("mine\n")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (Path.unlink, "was removed while the batch ran: the"),
        (lambda path: path.rename(path.with_name("moved.jsonl")), "was removed while the batch ran: the"),
        (replace, "was replaced while the batch ran: move it away: the"),
        (cut, "was changed while the batch ran: move it away: the"),
    ],
    ids=["removed", "moved", "replaced", "cut"],
)
@pytest.mark.parametrize("report", [(), ("--report", "r.html")], ids=["", "report"])
def test_a_results_file_that_changed_during_the_batch_is_an_error_and_the_same_command_writes_it_again(
    api: ScriptedAPI, command: Command, change: Callable[[Path], object], what: str, report: tuple[str, ...]
) -> None:
    (command.folder / "rows.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(3)))
    results = command.folder / "results.jsonl"
    api.next(Script(duration=0, output="x"), Script(duration=0, output="x"), Script(duration=math.inf, output="x"))
    running = command.start(*WORDS, *report)
    api.wait_until(lambda: results.is_file() and results.read_bytes().count(b"\n") == 2)
    change(results)
    next(prediction for prediction in api.predictions if prediction.status != "succeeded").finish()
    outcome = running.end()
    assert outcome.code == 3
    assert f"error: results.jsonl {what} same command writes it again" in outcome.err
    if change is replace:
        assert results.read_text() == "mine\n"
    results.unlink(missing_ok=True)
    assert command(*WORDS, *report).code == 0
    assert results.read_bytes().count(b"\n") == 3
    assert len(api.predictions) == 3
