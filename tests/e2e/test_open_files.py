"""A process may open few files, and a batch holds a connection for each create request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_job.testing import Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Outcome

PRIVATE = "acme/private"
ROWS = 300


def batch(command: Command, limit: str) -> Outcome:
    (command.folder / "rows.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(ROWS)))
    words = ("batch", PRIVATE, "rows.jsonl", "--results", "results.jsonl", "--rate", "none")
    return command.execute(["sh", "-c", f'{limit} && exec "$@"', "sh", *command.program, *words]).end()


def test_a_batch_raises_the_soft_limit(command: Command) -> None:
    with ScriptedAPI(script=Script(duration=1, output="x")) as api:
        command.environment |= api.environment
        outcome = batch(command, "ulimit -S -n 64")
    assert (outcome.code, "open files" in outcome.err) == (0, False), outcome.err
    assert api.created == ROWS


def test_the_lack_of_files_is_told_with_the_limit_and_the_option_and_is_not_the_end_of_a_row(command: Command) -> None:
    with ScriptedAPI(script=Script(duration=1, output="x")) as api:
        command.environment |= api.environment
        outcome = batch(command, "ulimit -n 64")
    assert "this process may open only 64 files: allow more (ulimit -n), or give a lower --concurrency" in outcome.err
    assert "/" + str(command.folder).strip("/") + "'" not in outcome.err
