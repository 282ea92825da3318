"""Retries, fallbacks, shared and reused predictions from Python."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from replicate_job import AsyncClient, Client, Fallback, batch, load_job, run
from replicate_job.errors import InputError, JobError, JobFileError
from replicate_job.testing import Script, ScriptedAPI, ScriptedModel, openapi_schema

TEXT = {"type": "string"}
FIRST = openapi_schema({"prompt": TEXT}, TEXT)
BROKEN = Script(end="failed", error="no", duration=0, boot=0)
WORDS = Script(output="words", duration=0, boot=0)
FOX = {"prompt": "a fox"}


@pytest.fixture(autouse=True)
def _models(api: ScriptedAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, schema in {"acme/first": FIRST, "acme/second": openapi_schema({"text": TEXT}, TEXT)}.items():
        api.models[name] = ScriptedModel(name=name, official=True, schema=schema, script=WORDS)


@pytest.mark.parametrize(
    "fallback",
    [Fallback("acme/second", {"prompt": "text"}), [Fallback("acme/second", {"prompt": False})]],
    ids=["one", "several"],
)
def test_a_fallback_succeeds_and_the_attempts_before_it_are_in_the_result(api: ScriptedAPI, fallback: Any) -> None:
    api.next(BROKEN, WORDS)
    result = run("acme/first", FOX, fallback=fallback)
    assert (result.model, result.output) == ("acme/second", "words")
    assert [(each.model, each.status) for each in result.earlier] == [("acme/first", "failed")]
    assert len(result.to_dict()) == 10


async def test_the_options_of_one_call_are_not_used_in_the_next_call(api: ScriptedAPI) -> None:
    async with AsyncClient() as client:
        made = await client.run("acme/first", FOX)
        taken = await client.run("acme/first", FOX, reuse=timedelta(days=1))
        other = await client.run("acme/first", FOX)
    assert [result.reused for result in (made, taken, other)] == [False, True, False]
    assert taken.prediction_id == made.prediction_id
    assert api.created == 2


def test_rows_can_share_and_reuse_predictions(api: ScriptedAPI) -> None:
    run("acme/first", FOX)
    given = [FOX, {"prompt": "a lake"}, {"prompt": "a lake"}]
    results = sorted(batch("acme/first", given, dedupe=True, reuse=timedelta(days=1)), key=lambda result: result.line)
    assert [result.reused for result in results] == [True, False, True]
    assert api.created == 2
    assert results[0].key.startswith("batch-")


def test_a_fallback_that_does_not_accept_the_input_raises_an_error_before_anything_is_paid(api: ScriptedAPI) -> None:
    with pytest.raises(InputError, match="acme/second"):
        run("acme/first", FOX, fallback="acme/second")
    [result] = batch("acme/first", [FOX], fallback=["acme/second"])
    assert "acme/second" in result.problem
    assert not api.predictions


def test_functions_for_one_prediction_refuse_retries_fallback_and_reuse(api: ScriptedAPI) -> None:
    with Client() as client:
        for call in (client.submit, lambda *args, **options: list(client.stream(*args, **options))):
            for options in ({"retries": 1}, {"fallback": "acme/second"}, {"reuse": timedelta(days=1)}):
                with pytest.raises(JobError, match="are for run and batch"):
                    call("acme/first", FOX, **options)
        with pytest.raises(JobError, match="wait for it"):
            client.run("acme/first", FOX, retries=1, wait_for_completion=False)
        with pytest.raises(JobError, match="retry_on needs retries"):
            client.run("acme/first", FOX, retry_on="empty")
        with pytest.raises(JobError, match="are for batches of one model"):
            list(client.batch("acme/first", [FOX], retries=1, models=["acme/second"], rename={}))
        with pytest.raises(JobError, match="dedupe names rows by their inputs, and id by a column"):
            client.batch("acme/first", [FOX], dedupe=True, id="prompt")
    assert not api.predictions


def test_a_job_file_can_have_fallbacks(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(
        'model = "a/b"\n[[fallback]]\nmodel = "c/d"\ninputs = { prompt = "text", seed = false }\n'
        'input_data = { steps = 4 }\n[[fallback]]\nmodel = "e/f"\n'
    )
    assert load_job(path).fallback == (
        Fallback("c/d", {"prompt": "text", "seed": False}, {"steps": 4}),
        Fallback("e/f"),
    )


@pytest.mark.parametrize(
    "wrong",
    [
        'fallback = "c/d"',
        "[[fallback]]\ninputs = {}",
        '[[fallback]]\nmodel = "what"',
        '[[fallback]]\nmodel = "c/d"\nrename = {}',
        '[[fallback]]\nmodel = "c/d"\ninputs = { prompt = true }',
    ],
)
def test_the_error_names_a_wrong_fallback_in_a_job_file(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "job.toml"
    path.write_text(f'model = "a/b"\n{wrong}\n')
    with pytest.raises(JobFileError, match="fallback must be an array of objects with a model"):
        load_job(path)


@pytest.mark.usefixtures("api")
def test_a_run_without_further_attempts_does_not_import_the_modules_for_them() -> None:
    program = (
        "import sys\nfrom replicate_job import batch, run\nimport replicate_job.cli.run, replicate_job.cli.batch\n"
        "run('acme/first', {'prompt': 'x'})\nlist(batch('acme/first', [{'prompt': 'x'}]))\n"
        "names = ('flow.plan', 'flow.policy', 'flow.failure', 'flow.reuse', 'batches.row_policy', 'batches.sharing')\n"
        "print([name for name in names if 'replicate_job.' + name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"[]\n"
