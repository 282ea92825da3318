"""The same ``batch`` is run again, after or during another run: no row is created twice, and none is lost."""

from __future__ import annotations

import math
import signal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.testing import Script

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Process

    from replicate_job.testing import ScriptedAPI

HELLO = "replicate/hello-world"
WORDS = ["batch", HELLO, "rows.jsonl", "--results", "results.jsonl"]
AGAIN = "`replicate-job batch replicate/hello-world rows.jsonl --results results.jsonl"
ENDLESS = Script(duration=math.inf, output="x")


def texts(command: Command, *texts: str) -> None:
    (command.folder / "rows.jsonl").write_bytes(b"".join(msgspec.json.encode({"text": text}) + b"\n" for text in texts))


def lines(command: Command, name: str = "results.jsonl") -> list[bytes]:
    return sorted((command.folder / name).read_bytes().splitlines())


def numbers(command: Command, name: str = "results.jsonl") -> list[int]:
    """The line of each result. A results file that is not complete fails the test."""
    found: list[dict[str, Any]] = [msgspec.json.decode(line) for line in lines(command, name)]
    return sorted(record["line"] for record in found)


def start(api: ScriptedAPI, command: Command, *words: str) -> Process:
    """A batch of three rows whose predictions all run and never end by themselves."""
    api.next(ENDLESS, ENDLESS, ENDLESS)
    texts(command, "a", "b", "c")
    process = command.start(*WORDS, *words)
    api.wait_until(lambda: len(api.predictions) == 3)
    return process


def finish(api: ScriptedAPI) -> None:
    for prediction in api.predictions:
        prediction.finish()


def test_a_finished_batch_that_is_run_again_requests_no_prediction_and_keeps_its_results_file(
    api: ScriptedAPI, command: Command
) -> None:
    texts(command, *map(str, range(30)))
    first = command(*WORDS)
    before, asked = lines(command), len(api.requests)
    second = command(*WORDS)
    done = "30 rows had been done before: nothing was created for them in this run\n"
    assert (second.code, second.err) == (0, first.err + done)
    assert lines(command) == before
    assert [request.operation for request in api.requests[asked:]] == ["model"]


def test_after_lines_are_added_to_a_file_only_the_new_lines_run(api: ScriptedAPI, command: Command) -> None:
    texts(command, "a", "b")
    command(*WORDS)
    with (command.folder / "rows.jsonl").open("a") as rows:
        rows.write('{"text": "c"}\n')
    assert command(*WORDS).code == 0
    assert numbers(command) == [1, 2, 3]
    assert [prediction.input["text"] for prediction in api.predictions] == ["a", "b", "c"]


@pytest.mark.parametrize("harm", ["deleted", "torn", "emptied"])
def test_damaged_results_are_restored_from_the_journal(api: ScriptedAPI, command: Command, harm: str) -> None:
    texts(command, "a", "b", "c")
    command(*WORDS)
    path, before = command.folder / "results.jsonl", lines(command)
    if harm == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-50] if harm == "torn" else b"")
    assert command(*WORDS).code == 0
    assert lines(command) == before
    assert len(api.predictions) == 3


def test_rows_with_an_id_may_change_their_lines(api: ScriptedAPI, command: Command) -> None:
    rows = command.folder / "rows.csv"
    rows.write_text("id,text\nx,a\ny,b\n")
    words = ["batch", HELLO, "rows.csv", "--results", "results.jsonl", "--id", "id"]
    command(*words)
    rows.write_text("id,text\nz,c\ny,b\nx,a\n")
    assert command(*words).code == 0
    assert [prediction.input for prediction in api.predictions] == [{"text": "a"}, {"text": "b"}, {"text": "c"}]
    assert numbers(command) == [2, 3, 4]  # of the file, whose first is the header


def test_two_processes_of_one_batch_with_two_results_files_create_nothing_twice(
    api: ScriptedAPI, command: Command
) -> None:
    api.models[HELLO] = msgspec.structs.replace(api.models[HELLO], script=Script(duration=0.3, output="x"))
    texts(command, *map(str, range(100)))
    processes = [command.start(*WORDS[:-1], name, "--rate", "none") for name in ("one.jsonl", "two.jsonl")]
    assert [process.end().code for process in processes] == [0, 0]
    assert len(api.predictions) == 100
    assert numbers(command, "one.jsonl") == numbers(command, "two.jsonl") == list(range(1, 101))
    assert lines(command, "one.jsonl") == lines(command, "two.jsonl")


def test_a_second_batch_process_with_the_same_results_file_is_refused(api: ScriptedAPI, command: Command) -> None:
    first = start(api, command)
    second = command(*WORDS)
    assert second.code == 2
    assert second.error == (
        f"error: results.jsonl is being written by process {first.pid}: wait for its end, or name another file"
    )
    finish(api)
    assert first.end().code == 0
    assert len(api.predictions) == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_batch_leaves_predictions_running_and_finishes_them_later(
    api: ScriptedAPI, command: Command, number: int, code: int
) -> None:
    process = start(api, command, "--cancel-on-interrupt") if number == signal.SIGTERM else start(api, command)
    process.signal(number)
    outcome = process.end()
    assert outcome.code == code
    assert outcome.err.splitlines()[-1].startswith(f"3 left running: {AGAIN}")
    assert "goes on with them" in outcome.err
    assert "no rows" not in outcome.err
    assert all(prediction.canceled is None for prediction in api.predictions)
    finish(api)
    assert command(*WORDS).code == 0
    assert numbers(command) == [1, 2, 3]
    assert len(api.predictions) == 3


def test_ctrl_c_reports_the_rows_that_have_not_been_started(api: ScriptedAPI, command: Command) -> None:
    api.models[HELLO] = msgspec.structs.replace(api.models[HELLO], script=ENDLESS)
    texts(command, *map(str, range(9)))
    process = command.start(*WORDS, "--concurrency", "2")
    api.wait_until(lambda: len(api.predictions) == 2)
    process.interrupt()
    outcome = process.end()
    last = outcome.err.splitlines()[-1]
    assert last == f"2 left running, 7 still to run: {AGAIN} --concurrency 2` goes on with them"
    assert len(api.predictions) == 2


def test_with_cancel_on_interrupt_ctrl_c_cancels_and_suggests_retry_failed(api: ScriptedAPI, command: Command) -> None:
    process = start(api, command, "--cancel-on-interrupt")
    process.interrupt()
    outcome = process.end()
    assert outcome.code == 130
    assert {prediction.status for prediction in api.predictions} == {"canceled"}
    assert outcome.err.splitlines()[-2:] == [
        "3 canceled",
        f"{AGAIN} --cancel-on-interrupt --retry-failed` makes a new prediction for each that did not succeed",
    ]
    assert command(*WORDS).code == 1
    assert len(api.predictions) == 3
    assert command(*WORDS, "--retry-failed").code == 0
    assert len(api.predictions) == 6


@pytest.mark.parametrize(("words", "operation"), [([], "list"), (["--cancel-on-interrupt"], "cancel")])
def test_a_second_ctrl_c_ends_the_process_and_the_next_run_adopts_its_predictions(
    api: ScriptedAPI, command: Command, words: list[str], operation: str
) -> None:
    process = start(api, command, *words)
    api.faults.next(operation, *["hang"] * 9)
    asked = api.count(operation)
    process.interrupt()
    api.wait_until(lambda: api.count(operation) > asked)
    process.interrupt()
    outcome = process.end()
    assert outcome.code == 130
    assert outcome.error.startswith("stopping, ")  # and no result of the look-up
    api.faults.clear()
    finish(api)
    assert command(*WORDS).code == 0
    assert len(api.predictions) == 3


def test_ctrl_c_before_anything_was_sent_sends_nothing(api: ScriptedAPI, command: Command) -> None:
    api.faults.next("model", "hang")
    texts(command, "a")
    process = command.start(*WORDS)
    api.wait_until(lambda: api.requests)
    process.interrupt()
    assert process.end().code == 130
    assert not api.predictions


def test_a_dry_run_counts_rows_that_are_finished_already(command: Command) -> None:
    texts(command, "a", "b")
    command(*WORDS, "--limit", "1")
    outcome = command(*WORDS, "--dry-run")
    assert outcome.json == {"model": HELLO, "rows": 2, "done": 1, "to_run": 1, "wrong": 0}
    assert outcome.err.startswith(f"the price of {HELLO} is not known: give --price")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("saved", [[], ["--no-save"]])
def test_a_dry_run_plans_no_prediction_for_rows_that_have_one(command: Command, saved: list[str]) -> None:
    texts(command, "a", "b")
    first = command(*WORDS, "--price", "0.01/run", "--no-save")
    planned = command(*WORDS, "--price", "0.01/run", "--dry-run", *saved).json
    assert (first.code, planned["done"], planned["to_run"], planned["cost"]["estimate"]) == (0, 2, 0, 0)
    assert "2 rows had been done before: nothing was created" in command(*WORDS, *saved).err


def test_a_dry_run_plans_no_prediction_for_rows_whose_prediction_is_still_running(
    api: ScriptedAPI, command: Command
) -> None:
    process = start(api, command, "--price", "0.01/run")
    process.interrupt()
    process.end()
    planned = command(*WORDS, "--price", "0.01/run", "--dry-run").json
    assert (planned["done"], planned["running"], planned["to_run"], planned["cost"]["estimate"]) == (0, 3, 0, 0)


def test_a_dry_run_includes_the_price_of_the_new_attempts_that_a_run_would_make(
    api: ScriptedAPI, command: Command
) -> None:
    api.next(Script(end="failed", error="broken"))
    texts(command, "a", "b")
    assert command(*WORDS, "--concurrency", "1").code == 1
    priced = [*WORDS, "--price", "0.01/run", "--dry-run"]
    counted = [command(*priced, *words).json for words in ([], ["--retry-failed"], ["--retries", "1"])]
    assert [(each["done"], each["to_run"], each["cost"]["estimate"]) for each in counted] == [
        (2, 0, 0),
        (1, 1, 0.01),
        (1, 1, 0.01),
    ]


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        ([], ["--id", "text"], "by their lines and not by a column: all would be paid for again. Leave --id "),
        (["--id", "text"], [], "by a column and not by their lines: all would be paid for again. Give --id COLUMN "),
        ([], ["--dedupe"], "by their lines and not by their inputs: all would be paid for again. Leave --dedupe "),
        (["--dedupe"], ["--id", "text"], "by their inputs and not by a column: all would be paid for again. Give --de"),
    ],
)
def test_a_batch_whose_rows_have_run_under_other_names_is_refused_before_anything_is_paid(
    api: ScriptedAPI, command: Command, before: list[str], now: list[str], says: str
) -> None:
    texts(command, "a", "b")
    assert command(*WORDS, *before).code == 0
    kept = lines(command)
    other = ["batch", HELLO, "rows.jsonl", "--results", "other.jsonl"]
    for words in ([*WORDS, *now], [*other, *now], [*WORDS, *now, "--dry-run"]):
        refused = command(*words)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert says in refused.err
    assert (lines(command), len(api.predictions)) == (kept, 2)
    texts(command, "c", "a", "b", "d")
    assert command(*WORDS, *before).code == 0


def test_ids_from_a_column_are_accepted_even_if_they_look_like_generated_row_names(
    api: ScriptedAPI, command: Command
) -> None:
    """A new export replaces the file, and shares no row with the old one."""
    for texts_of in (("1001-20260115", "1002-20260115"), ("1003-20260116", "1004-20260116")):
        texts(command, *texts_of)
        outcome = command(*WORDS, "--id", "text")
        assert outcome.code == 0, outcome.err
    assert len(api.predictions) == 4


def test_a_batch_of_chains_whose_rows_have_run_under_other_names_is_refused(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "chain.toml").write_text(
        f'[[step]]\nname = "one"\nmodel = "{HELLO}"\ninput = {{ text = "{{text}}" }}\n'
    )
    texts(command, "a", "b")
    words = ["batch", "chain.toml", "rows.jsonl", "--results", "results.jsonl"]
    first = command(*words)
    assert first.code == 0, first.err
    refused = command(*words, "--id", "text")
    assert (refused.code, len(api.predictions)) == (2, 2)
    assert "by their lines and not by a column" in refused.err
