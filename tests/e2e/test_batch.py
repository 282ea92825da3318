"""``replicate-job batch``: rows in, results out, and its exit codes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from replicate_job.testing import Script

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Command, Outcome

    from replicate_job.testing import ScriptedAPI

HELLO = "replicate/hello-world"
FLUX = "black-forest-labs/flux-schnell"
NAMES = ["line", "key", "prediction_id", "status", "model", "input", "output", "error", "created_at", "completed_at"]
NAMES += ["urls", "metrics", "files", "cost", "currency", "cost_source", "price_date"]
JOB = '{"model": "black-forest-labs/flux-schnell", "input_data": {"prompt": "a lake", "seed": 7}}'


def write(command: Command, *inputs: Any, name: str = "rows.jsonl") -> str:
    (command.folder / name).write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in inputs))
    return name


def texts(command: Command, *texts: str) -> str:
    return write(command, *({"text": text} for text in texts))


def batch(command: Command, *words: str | Path, target: str = HELLO, rows: str = "rows.jsonl") -> Outcome:
    return command("batch", target, rows, "--results", "results.jsonl", *words)


def records(command: Command, name: str = "results.jsonl") -> list[dict[str, Any]]:
    """The results by line; each file must be whole, with every line once."""
    found = [msgspec.json.decode(line) for line in (command.folder / name).read_bytes().splitlines()]
    assert len({record["line"] for record in found}) == len(found)
    return sorted(found, key=lambda record: record["line"])


def sent(api: ScriptedAPI) -> list[dict[str, Any]]:
    """The inputs of all create requests, sorted."""
    return sorted((prediction.input for prediction in api.predictions), key=str)


def test_every_row_has_a_line_in_the_results_with_the_fields_of_the_api(api: ScriptedAPI, command: Command) -> None:
    texts(command, "a", "b", "c")
    outcome = batch(command)
    found = records(command)
    assert outcome.code == 0
    assert outcome.out == b""
    assert [record["output"] for record in found] == ["hello a", "hello b", "hello c"]
    assert [list(record) for record in found] == [NAMES] * 3
    assert [record["line"] for record in found] == [1, 2, 3]
    assert {record["prediction_id"] for record in found} == {prediction.id for prediction in api.predictions}
    assert {record["status"] for record in found} == {"succeeded"}
    assert outcome.err.startswith("3 rows: 3 succeeded; ")
    assert outcome.err.count("\n") == 1


def test_a_text_model_leaves_no_files(command: Command) -> None:
    texts(command, "a")
    batch(command)
    assert not (command.folder / "outputs").exists()
    assert sorted(path.name for path in command.folder.iterdir() if path.is_file()) == [
        "report.html",
        "results.jsonl",
        "rows.jsonl",
    ]


def test_files_are_in_one_folder_for_each_thousand_rows_with_paths_relative_to_the_results_file(
    api: ScriptedAPI, command: Command
) -> None:
    write(command, {"prompt": "x", "num_outputs": 2})
    batch(command, target=FLUX)
    place = f"outputs/0000/{api.predictions[0].id}"
    (record,) = records(command)
    assert record["files"] == [f"{place}/output-0.webp", f"{place}/output-1.webp"]
    assert all((command.folder / file).stat().st_size for file in record["files"])


def test_the_option_no_save_stores_no_files_and_the_option_save_names_their_folder(
    api: ScriptedAPI, command: Command
) -> None:
    write(command, {"prompt": "x"})
    batch(command, "--no-save", target=FLUX)
    assert records(command)[0]["files"] == []
    assert not (command.folder / "outputs").exists()
    batch(command, "--save", "pictures", target=FLUX)
    assert records(command)[0]["files"] == [f"pictures/0000/{api.predictions[0].id}/output-0.webp"]
    assert len(api.predictions) == 1


def test_a_csv_is_typed_by_the_schema_and_its_empty_cells_are_not_sent(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "rows.csv").write_text('prompt,seed,num_outputs\n12,3,\n,4,2\n"a, b",,1\n')
    outcome = batch(command, target=FLUX, rows="rows.csv")
    assert outcome.code == 1  # the second row has no prompt
    assert sent(api) == [{"prompt": "12", "seed": 3}, {"prompt": "a, b", "num_outputs": 1}]
    assert [record["status"] for record in records(command)] == ["succeeded", "error", "succeeded"]


def test_a_parquet_file_keeps_its_own_types(api: ScriptedAPI, command: Command) -> None:
    table = pa.table({"prompt": ["x", "y"], "seed": pa.array([3, None], pa.int64())})
    pq.write_table(table, command.folder / "rows.parquet")
    assert batch(command, target=FLUX, rows="rows.parquet").code == 0
    assert sent(api) == [{"prompt": "x", "seed": 3}, {"prompt": "y"}]


def test_a_row_is_merged_over_the_input_of_a_job_file(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "job.json").write_text(JOB)
    write(command, {"seed": 1}, {"prompt": "a sea"}, {})
    assert batch(command, target="job.json").code == 0
    assert sent(api) == [
        {"prompt": "a lake", "seed": 1},
        {"prompt": "a lake", "seed": 7},
        {"prompt": "a sea", "seed": 7},
    ]


def test_rows_are_read_from_a_pipe_and_results_are_written_to_a_pipe(api: ScriptedAPI, command: Command) -> None:
    outcome = command("batch", HELLO, "-", "--results", "-", typed=b'{"text": "a"}\n{"text": "b"}\n')
    found = [msgspec.json.decode(line) for line in outcome.out.splitlines()]
    assert outcome.code == 0
    assert sorted(record["output"] for record in found) == ["hello a", "hello b"]
    assert len(api.predictions) == 2
    assert not list(command.folder.glob("report*"))


def test_results_reach_a_pipe_while_rows_are_still_being_read(command: Command) -> None:
    process = command.start("batch", HELLO, "-", "--results", "-")
    stdin = process._popen.stdin  # noqa: SLF001 - ``Process`` has no way to write in parts
    assert stdin
    stdin.write(b'{"text": "a"}\n')
    stdin.flush()
    assert process.read(10) == b'{"line":1,'
    assert process.end(b'{"text": "b"}\n').code == 0


def test_files_in_a_column_are_sent_like_those_of_a_single_job(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nsmall")
    (command.folder / "rows.csv").write_text("prompt,image\nx,@a.png\ny,@none.png\n")
    outcome = batch(command, target="stability-ai/sdxl", rows="rows.csv")
    assert outcome.code == 1
    (given,) = sent(api)
    assert given["image"].startswith(("data:image/png;base64,", f"{api.base_url}/v1/files/"))
    assert "none.png" in records(command)[1]["error"]
    assert "@none.png" in outcome.err or "none.png" in outcome.err


BAD = b'{"text": "a"}\n{"text": \n[1]\n{"text": 5}\n{"txt": "x"}\n\n{"text": "b"}\n'


def test_an_invalid_row_has_a_record_with_its_line_and_the_other_rows_run(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "rows.jsonl").write_bytes(BAD)
    outcome = batch(command)
    found = {record["line"]: record for record in records(command)}
    assert outcome.code == 1
    assert {line: record["status"] for line, record in found.items()} == {
        1: "succeeded",
        2: "error",
        3: "error",
        4: "error",
        5: "error",
        7: "succeeded",
    }
    assert all(found[line]["error"] for line in (2, 3, 4, 5))
    assert all(list(record)[: len(NAMES)] == NAMES for record in found.values())
    assert "4 errors" in outcome.err
    assert len(api.predictions) == 2


def test_an_error_that_several_rows_share_is_one_line_with_an_example(api: ScriptedAPI, command: Command) -> None:
    api.next(*[Script(end="failed", error="no memory")] * 2)
    texts(command, "a", "b", "c")
    outcome = batch(command)
    assert outcome.code == 1
    assert "3 rows: 2 failed, 1 succeeded" in outcome.err
    assert "2 × no memory (line " in outcome.err  # noqa: RUF001 - as it is printed
    assert "--retry-failed` makes a new prediction for each that did not succeed" in outcome.err


def test_retry_failed_retries_only_the_failed_rows(api: ScriptedAPI, command: Command) -> None:
    api.models[HELLO] = msgspec.structs.replace(api.models[HELLO], script=_fails_at_b)
    texts(command, "a", "b")
    assert batch(command).code == 1
    assert batch(command).code == 1
    assert len(api.predictions) == 2
    api.models[HELLO] = msgspec.structs.replace(api.models[HELLO], script=Script(output="well"))
    assert batch(command, "--retry-failed").code == 0
    assert [record["output"] for record in records(command)] == ["hello a", "well"]
    assert [prediction.input["text"] for prediction in api.predictions][2:] == ["b"]
    assert batch(command).code == 0
    assert len(api.predictions) == 3


def _fails_at_b(given: dict[str, Any]) -> Script:
    return Script(end="failed" if given["text"] == "b" else "succeeded", error="no", output=f"hello {given['text']}")


def test_fail_fast_creates_nothing_after_the_first_failure(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(end="failed", error="no memory"))
    texts(command, *map(str, range(50)))
    outcome = batch(command, "--fail-fast", "--concurrency", "2")
    assert outcome.code == 1
    assert len(api.predictions) < 10
    assert "stopped: line " in outcome.err
    assert len(records(command)) == len(api.predictions)


def test_a_batch_stops_at_the_predict_time_limit_and_continues_with_a_larger_limit(
    api: ScriptedAPI, command: Command
) -> None:
    api.models[HELLO] = msgspec.structs.replace(
        api.models[HELLO], script=Script(output="x", overrides={"metrics": {"predict_time": 600}})
    )
    texts(command, *map(str, range(20)))
    outcome = batch(command, "--max-predict-time", "30m", "--concurrency", "1")
    assert outcome.code == 5
    assert 3 <= len(api.predictions) <= 4
    assert "stopped: " in outcome.err
    assert batch(command, "--max-predict-time", "10h").code == 0
    assert len(api.predictions) == 20


def test_a_predict_time_limit_that_only_the_last_row_reaches_is_not_reported(
    api: ScriptedAPI, command: Command
) -> None:
    spent = Script(output="x", overrides={"metrics": {"predict_time": 600}})
    api.models[HELLO] = msgspec.structs.replace(api.models[HELLO], script=spent)
    texts(command, "a", "b")
    outcome = batch(command, "--max-predict-time", "20m")
    assert outcome.code == 0
    assert outcome.err == "2 rows: 2 succeeded; 20m predict time, no files\n"


def test_the_option_limit_runs_the_first_rows_and_a_run_without_it_the_remaining_ones(
    api: ScriptedAPI, command: Command
) -> None:
    texts(command, "a", "b", "c", "d")
    assert batch(command, "--limit", "2").code == 0
    assert [record["line"] for record in records(command)] == [1, 2]
    assert batch(command).code == 0
    assert [record["line"] for record in records(command)] == [1, 2, 3, 4]
    assert len(api.predictions) == 4


def test_a_dry_run_counts_rows_and_their_problems_and_creates_nothing(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "rows.jsonl").write_bytes(BAD)
    outcome = batch(command, "--dry-run")
    assert outcome.code == 1
    assert outcome.json == {"model": HELLO, "rows": 6, "done": 0, "to_run": 2, "wrong": 4}
    assert "(line 2)" in outcome.err
    assert not api.count("create")
    assert not (command.folder / "results.jsonl").exists()
    texts(command, "a")
    assert batch(command, "--dry-run").code == 0


def test_cancel_after_cancels_a_row_that_runs_too_long(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(duration=math.inf, deadline=0.2))
    texts(command, "a")
    outcome = batch(command, "--cancel-after", "5s")
    assert outcome.code == 1
    assert records(command)[0]["status"] == "canceled"
    assert "1 canceled" in outcome.err


@pytest.mark.parametrize(
    "words", [["--rate", "fast"], ["--limit", "0"], ["--concurrency", "0"], ["--max-predict-time", "x"]]
)
def test_invalid_options_are_refused(api: ScriptedAPI, command: Command, words: list[str]) -> None:
    texts(command, "a")
    outcome = batch(command, *words)
    assert outcome.code == 2
    assert "error: " in outcome.err
    assert not api.requests
