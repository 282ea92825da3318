"""Batches from Python: rows of any kind, results as they arrive, and batches that are interrupted and resumed."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicate_job import Job, batch, run
from replicate_job.calls import OneShotBatchOptions
from replicate_job.errors import ColumnsError, JobError, ModelNotFoundError, PaymentRequiredError, RowError
from replicate_job.testing import OutputFile, Script, ScriptedAPI, openapi_schema
from replicate_job.testing.models import ScriptedModel

INSTANT = Script(duration=0, boot=0, output="done")
IMAGES = ScriptedModel(
    name="acme/images",
    official=True,
    script=Script(output=OutputFile(content=b"image", name="a.png")),
    schema=openapi_schema(
        {"prompt": {"type": "string"}, "n": {"type": "integer"}}, {"type": "string", "format": "uri"}
    ),
)


pytestmark = [pytest.mark.usefixtures("api"), pytest.mark.replicate_api(IMAGES)]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "state"))


def rows(count: int) -> list[dict[str, Any]]:
    return [{"n": number} for number in range(1, count + 1)]


def test_a_for_loop_gets_every_result(api: ScriptedAPI) -> None:
    results = batch("acme/private", rows(20), rate="none")
    ordered = sorted(results, key=lambda result: result.line)
    assert [(result.line, result.input["n"], result.output) for result in ordered] == [
        (number, number, "done") for number in range(1, 21)
    ]
    assert results.tally.succeeded == results.tally.created == api.created == 20


async def test_an_async_for_loop_gets_every_result(api: ScriptedAPI) -> None:
    lines = [result.line async for result in batch("acme/private", rows(20), rate="none")]
    assert sorted(lines) == list(range(1, 21))
    assert api.created == 20


async def test_a_for_loop_works_inside_a_running_event_loop() -> None:
    assert sorted(result.line for result in batch("acme/private", rows(3), rate="none")) == [1, 2, 3]


async def test_an_async_iterable_of_rows_may_wait_for_results_of_earlier_rows() -> None:
    more = asyncio.Event()

    async def come() -> AsyncIterator[dict[str, int]]:
        yield {"n": 1}
        await more.wait()
        yield {"n": 2}

    lines = []
    async for result in batch("acme/private", come(), rate="none"):
        lines.append(result.line)
        more.set()
    assert lines == [1, 2]


def test_rows_may_come_from_an_async_iterable_in_a_for_loop() -> None:
    async def come() -> AsyncIterator[dict[str, int]]:
        for row in rows(3):
            yield row

    assert sorted(result.line for result in batch("acme/private", come(), rate="none")) == [1, 2, 3]


def test_rows_are_merged_over_the_jobs_input() -> None:
    job = Job("acme/images", {"prompt": "x", "n": 0})
    results = sorted(batch(job, rows(2), rate="none"), key=lambda result: result.line)
    assert [result.input for result in results] == [{"prompt": "x", "n": 1}, {"prompt": "x", "n": 2}]


def test_a_batch_is_named_by_its_file_and_the_same_call_creates_nothing_twice(api: ScriptedAPI, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"n": 1}\n{"n": 2}\nbroken\n')
    for _ in range(2):
        ordered = sorted(batch("acme/private", path, rate="none"), key=lambda result: result.line)
        assert [result.status for result in ordered] == ["succeeded", "succeeded", "error"]
    with path.open("a") as file:
        file.write('{"n": 4}\n')
    results = batch("acme/private", str(path), rate="none")
    assert sorted(result.line for result in results) == [1, 2, 3, 4]
    assert (results.tally.stored, results.tally.created, api.created) == (2, 1, 3)


def test_values_of_a_csv_file_get_their_types_from_the_schema(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt,n\n7,8\n")
    (result,) = batch("acme/images", tmp_path / "rows.csv", rate="none")
    assert result.input == {"prompt": "7", "n": 8}


def test_a_batch_whose_loop_is_left_early_continues_with_its_key(api: ScriptedAPI) -> None:
    for result in batch("acme/private", rows(30), key="mine", rate="none", concurrency=2):
        assert result.line
        break
    assert api.created < 10
    results = batch("acme/private", rows(30), key="mine", rate="none")
    assert sorted(result.line for result in results) == list(range(1, 31))
    assert api.created == 30
    assert results.tally.stored >= 1


async def test_predictions_that_run_when_the_loop_is_left_are_adopted_by_the_next_call(api: ScriptedAPI) -> None:
    api.next(INSTANT, *[Script(duration=math.inf, output="done")] * 3)
    results = aiter(batch("acme/private", rows(4), key="mine", rate="none"))
    await anext(results)
    await asyncio.to_thread(api.wait_until, lambda: api.created == 4)
    await results.aclose()  # type: ignore[attr-defined]
    assert {prediction.status for prediction in api.predictions[1:]} <= {"starting", "processing"}
    for prediction in api.predictions[1:]:
        prediction.finish()
    lines = [result.line async for result in batch("acme/private", rows(4), key="mine", rate="none")]
    assert sorted(lines) == [1, 2, 3, 4]
    assert api.created == 4


def test_without_a_key_rows_that_do_not_come_from_a_file_start_a_new_batch(api: ScriptedAPI) -> None:
    for _ in range(2):
        assert len(list(batch("acme/private", rows(2), rate="none"))) == 2
    assert api.created == 4


@pytest.mark.long
def test_with_a_slow_consumer_few_rows_are_read_ahead() -> None:
    taken = 0

    def endless() -> Iterator[dict[str, int]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"n": taken}

    with ScriptedAPI(script=INSTANT) as api:
        options: OneShotBatchOptions = {"rate": "none", "base_url": api.base_url, "token": api.token}
        results = iter(batch("acme/private", endless(), **options))
        next(results)
        created = -1
        while created < api.created:
            created = api.created
            time.sleep(0.5)  # a slow consumer
        assert created <= taken <= 4000
        results.close()  # type: ignore[attr-defined]


def test_an_iterable_that_raises_ends_the_loop_after_the_rows_before_the_error() -> None:
    def broken() -> Iterator[dict[str, int]]:
        yield from rows(3)
        raise LookupError("no more")

    lines: list[int] = []

    def take() -> None:
        for result in batch("acme/private", broken(), rate="none"):
            lines.append(result.line)  # noqa: PERF401 - the rows before the error are checked

    with pytest.raises(LookupError, match="no more"):
        take()
    assert sorted(lines) == [1, 2, 3]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("text", "a row is a mapping of inputs, this is a str"),
        (None, "a row is a mapping of inputs, this is a NoneType"),
        ({"n": "x"}, "the input does not fit acme/images"),
        ({"nn": 1}, "the input does not fit acme/images"),
        ({"prompt": object()}, "object"),
        ({"prompt": {1, 2}}, "set"),
        ({"prompt": math.nan}, "prompt"),
    ],
    ids=["text", "none", "type", "unknown", "object", "set", "nan"],
)
def test_a_row_that_is_not_an_input_is_an_error_of_that_row(api: ScriptedAPI, row: Any, problem: str) -> None:
    results = sorted(batch("acme/images", [{"n": 1}, row, {"n": 3}], rate="none"), key=lambda result: result.line)
    assert [result.status for result in results] == ["succeeded", "error", "succeeded"]
    assert problem in results[1].problem
    with pytest.raises(RowError, match="line 2: "):
        results[1].raise_for_status()
    assert api.created == 2


def nested(depth: int, leaf: Any = 1) -> Any:
    for level in range(depth):
        leaf = [leaf] if level % 2 else {"a": leaf}
    return leaf


def round_about() -> list[Any]:
    items: list[Any] = []
    items += [items, items]
    return items


HOSTILE: st.SearchStrategy[Any] = st.one_of(
    st.integers(201, 1500).map(nested),
    st.sampled_from([[math.nan], math.inf, -math.inf, 10**400, -(10**5000), "\ud800", "a\udfffb", {1, 2}, object()]),
    st.sampled_from([{"\ud800": 1}, {1: 2}, {(1,): 2}, {None: 1}, round_about(), complex(1), range(3), Decimal("NaN")]),
)
"""Values that no request can carry."""
ODD: st.SearchStrategy[Any] = st.one_of(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
        max_leaves=8,
    ),
    st.integers(0, 199).map(nested),
)
"""Unusual values that a request can carry."""


@pytest.mark.long
@pytest.mark.parametrize("id_column", [None, "id"])
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_hostile_value_is_an_error_of_its_row_and_the_others_go_on(
    api: ScriptedAPI, data: st.DataObject, id_column: str | None
) -> None:
    hostile = data.draw(st.sets(st.integers(1, 6), max_size=4))
    values = [data.draw(HOSTILE if line in hostile else ODD) for line in range(1, 7)]
    rows = [{"id": line, "n": value} for line, value in enumerate(values, 1)]
    if hostile and id_column:
        rows[min(hostile) - 1] = {"id": values[min(hostile) - 1], "n": 1}
    created = api.created
    results = sorted(batch("acme/private", rows, rate="none", id=id_column), key=lambda result: result.line)
    assert [result.status for result in results] == [
        "error" if line in hostile else "succeeded" for line in range(1, 7)
    ]
    assert all("\n" not in result.problem and result.problem.isprintable() for result in results)
    assert api.created == created + 6 - len(hostile)


def test_the_dictionary_of_a_result_has_its_line_and_problem() -> None:
    results = sorted(batch("acme/private", [{"n": 1}, {"n": math.inf}], key="k", rate="none"), key=lambda row: row.line)
    fine, wrong = (result.to_dict() for result in results)
    assert list(fine)[-3:] == ["line", "key", "problem"]
    assert (fine["line"], fine["problem"], fine["key"][:4]) == (1, "", "k/1-")
    assert (wrong["line"], wrong["problem"]) == (2, "n: inf is not a number that JSON can carry")


def test_outputs_are_saved_in_the_folder_that_save_to_names(tmp_path: Path) -> None:
    for result in batch("acme/images", rows(3), rate="none", save_to=tmp_path / "out"):
        assert [path.read_bytes() for path in result.files] == [b"image"]
        assert result.files[0].is_relative_to(tmp_path / "out")


def test_outputs_are_saved_under_names_from_a_template(tmp_path: Path) -> None:
    save_to = f"{tmp_path}/{{owner}}/{{key}}/{{line}}-{{name}}"
    given = [{"n": 1, "sku": "a/b"}, {"n": 2, "sku": "c"}]
    results = list(batch("acme/images", given, rate="none", save_to=save_to, id="sku", ignore_columns=["sku"]))
    found = {result.line: result.files[0].relative_to(tmp_path / "acme") for result in results}
    assert found[2] == Path("c/2-output.png")
    assert found[1].parent.name.startswith("a-b-")
    with pytest.raises(JobError, match="it needs"):
        list(batch("acme/images", rows(1), rate="none", save_to=f"{tmp_path}/{{date}}/{{name}}"))


def test_an_error_that_concerns_all_rows_is_raised(api: ScriptedAPI) -> None:
    api.faults.next("create", *["402"] * 20)
    with pytest.raises(PaymentRequiredError):
        list(batch("acme/private", rows(20), rate="none"))
    with pytest.raises(ModelNotFoundError):
        list(batch("acme/nothing", rows(1)))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"rate": "fast"}, "rate: 'fast' is no rate"),
        ({"concurrency": -1}, "concurrency"),
        ({"concurrency": 0}, "concurrency"),
        ({"limit": -1}, "limit"),
    ],
)
def test_an_option_with_an_invalid_value_is_refused_at_once(api: ScriptedAPI, options: Any, problem: str) -> None:
    with pytest.raises(JobError, match=problem):
        batch("acme/private", rows(3), **options)
    assert api.requests == []


def test_an_unknown_option_raises_a_type_error() -> None:
    with pytest.raises(TypeError, match="there is no option 'concurency'; there are key, save_to, "):
        batch("acme/private", [], concurency=3)  # type: ignore[call-arg]


def test_an_argument_that_is_not_a_job_or_rows_is_refused_at_once() -> None:
    with pytest.raises(JobError, match="is a job file"):
        batch("run.xs", [])
    with pytest.raises(JobError, match="no such file"):
        batch("acme/private", "nothing.jsonl")
    with pytest.raises(JobError, match="rows is a int: give a list of inputs"):
        batch("acme/private", 5)  # type: ignore[arg-type]


def test_no_rows_give_no_results(api: ScriptedAPI) -> None:
    assert list(batch("acme/private", [])) == []
    assert list(batch("acme/private", rows(5), limit=2, rate="none"))
    assert api.created == 2


def test_retry_failed_runs_failed_rows_again(api: ScriptedAPI) -> None:
    api.next(Script(end="failed"))
    (first,) = batch("acme/private", rows(1), key="mine")
    (again,) = batch("acme/private", rows(1), key="mine", retry_failed=True)
    assert (first.status, again.status, api.created) == ("failed", "succeeded", 2)


INTERRUPTED = """
import os, signal, threading
from replicate_job import batch
signal.signal(signal.SIGINT, signal.default_int_handler)  # a program in the background of a shell ignores it
results = iter(batch("acme/private", [{"n": n} for n in range(8)], key="left", rate="none"))
next(results)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    for result in results:
        pass
except KeyboardInterrupt:
    results.close()
    print("interrupted")
"""


@pytest.mark.long
def test_predictions_that_run_at_ctrl_c_in_a_for_loop_are_adopted(api: ScriptedAPI) -> None:
    api.next(INSTANT, *[Script(duration=2, output="done")] * 7)
    ran = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "interrupted\n", "")
    assert len(list(batch("acme/private", ({"n": n} for n in range(8)), key="left", rate="none"))) == 8
    assert api.created == 8


WORDS = ScriptedModel(
    name="acme/words",
    official=True,
    script=INSTANT,
    schema=openapi_schema(
        {
            "prompt": {"type": "string"},
            "seed": {"type": "integer"},
            "scale": {"type": "number"},
            "fast": {"type": "boolean"},
        }
    ),
)


@pytest.fixture
def words(api: ScriptedAPI) -> str:
    api.models[WORDS.name] = WORDS
    return WORDS.name


def inputs(rows: Any, model: str, **options: Any) -> list[dict[str, Any]]:
    results = sorted(batch(model, rows, rate="none", **options), key=lambda result: result.line)
    assert [result.problem for result in results] == [""] * len(results)
    return [result.input for result in results]


@pytest.fixture
def frame() -> pd.DataFrame:
    """Columns of a file with gaps, as pandas reads them: integers are floats, and gaps are NaN, NA or None."""
    return pd.DataFrame(
        {
            "Prompt": ["x", "y", "z"],
            "seed": [1.0, math.nan, 3.0],
            "scale": pd.array([1.5, None, 2], dtype="Float64"),
            "fast": pd.array([True, None, False], dtype="boolean"),
        },
        index=[7, 8, 9],
    )


EXPECTED = [
    {"prompt": "x", "seed": 1, "scale": 1.5, "fast": True},
    {"prompt": "y"},
    {"prompt": "z", "seed": 3, "scale": 2.0, "fast": False},
]


def test_the_rows_of_a_data_frame_are_read_without_missing_values(words: str, frame: pd.DataFrame) -> None:
    assert inputs(frame, words) == EXPECTED
    assert all(type(row.get("seed", 1)) is int for row in inputs(frame, words))


def test_rows_of_a_data_frame_may_be_passed_one_by_one(words: str, frame: pd.DataFrame) -> None:
    renamed = frame.rename(columns=str.lower)

    assert inputs(renamed.to_dict("records"), words) == EXPECTED
    assert inputs((row for _, row in renamed.iterrows()), words) == EXPECTED
    assert inputs((renamed.iloc[place] for place in range(3)), words) == EXPECTED


def test_the_columns_of_a_data_frame_are_checked_once(api: ScriptedAPI, words: str, frame: pd.DataFrame) -> None:
    frame["note"] = ["a", "b", "c"]

    with pytest.raises(ColumnsError, match="rows: note is not an input of acme/words; it takes prompt, seed"):
        list(batch(words, frame, rate="none"))
    assert api.created == 0
    assert inputs(frame, words, ignore_columns=["note"]) == EXPECTED
    assert inputs(frame, words, ignore_columns="*")[1] == {"prompt": "y"}
    assert inputs(frame[["note"]], words, rename={"note": "prompt"}) == [
        {"prompt": "a"},
        {"prompt": "b"},
        {"prompt": "c"},
    ]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.str_("s"), "s"),
        (np.bool_(True), True),
        (np.array([1, 2]), [1, 2]),
        ([np.int8(1), {"a": np.float64(2.0)}], [1, {"a": 2.0}]),
        (pd.Timestamp("2024-05-01T12:00:00"), "2024-05-01T12:00:00"),
        (np.float32("nan"), None),
        (np.datetime64("NaT", "s"), None),
        (pd.NaT, None),
        (pd.NA, None),
        (None, None),
    ],
    ids=str,
)
def test_scalars_of_numpy_and_pandas_are_accepted_as_values(value: Any, read: Any) -> None:
    inputs = {} if read is None else {"n": read}

    (result,) = batch("acme/private", [{"n": value, "a": 1}], rate="none")

    assert result.input == {"a": 1, **inputs}


def test_scalars_of_numpy_are_accepted_in_a_single_job_too(words: str) -> None:
    job = Job(words, {"prompt": np.str_("x")})

    assert run(job, {"seed": np.int64(3), "fast": np.bool_(True)}).input == {
        "prompt": "x",
        "seed": 3,
        "fast": True,
    }
    (result,) = batch(Job(words, {"prompt": "x", "seed": np.int64(3)}), [{"scale": 1}], rate="none")
    assert result.input == {"prompt": "x", "seed": 3, "scale": 1}


def test_a_mistyped_name_in_the_first_row_stops_the_batch(api: ScriptedAPI, words: str) -> None:
    with pytest.raises(ColumnsError, match="line 1: promt is not an input of acme/words"):
        list(batch(words, [{"promt": str(number)} for number in range(500)], rate="none", allow_unknown=True))
    assert api.created == 0


def test_options_for_files_are_refused_for_other_rows(tmp_path: Path, words: str) -> None:
    (tmp_path / "rows.txt").write_text("x|1\n")

    assert inputs(tmp_path / "rows.txt", words, format="csv", header=("prompt", "seed")) == [{"prompt": "x", "seed": 1}]
    with pytest.raises(JobError, match="are for the path of a file"):
        batch(words, [], format="csv")


def test_a_batch_with_a_price_can_have_a_cost_limit(api: ScriptedAPI) -> None:
    results = list(batch("acme/private", rows(20), rate="none", max_cost=0.05, price="0.01/run"))
    assert len(results) == api.created == 5
    assert {result.cost for result in results} == {Decimal("0.01")}
    with pytest.raises(JobError, match="'' is neither a price"):
        list(batch("acme/private", rows(1), price=""))
    with pytest.raises(JobError, match="the price of acme/private is not known: give --price \\(in Python price=\\)"):
        list(batch("acme/private", rows(1), max_cost=Decimal("0.05")))


def test_the_result_of_a_deployment_has_the_price_of_its_hardware(api: ScriptedAPI) -> None:  # noqa: ARG001 - it answers
    result = run("deployments/acme/flux", {"prompt": "x"})
    predict_time = result.metrics["predict_time"]
    assert result.charge
    assert (result.cost, result.cost_source) == (Decimal(repr(predict_time)) * Decimal("0.0001"), "learned")
    assert result.charge.excludes == "setup and idle time of its instances"
