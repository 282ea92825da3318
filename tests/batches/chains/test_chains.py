"""Chains from Python: each step is created once, and its outputs are kept."""

from __future__ import annotations

import asyncio
import base64
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.e2e.s3 import S3

from replicate_job import AsyncClient, Chain, Client, Job, Ref, Result, Step, batch, run
from replicate_job.batches.chains.plan import chain_job, plan_chain
from replicate_job.batches.chains.single import run_chain
from replicate_job.errors import (
    InputError,
    JobError,
    JobTimeoutError,
    KeyInUseError,
    ModelNotFoundError,
    PaymentRequiredError,
    UnknownJobError,
)
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.inputs.upload import INLINE
from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedModel, openapi_schema

FILE: dict[str, Any] = {"type": "string", "format": "uri"}
LONG_AGO = {"completed_at": "2025-03-14T10:00:00.000000Z"}
DRAW = ScriptedModel(
    name="acme/draw",
    official=True,
    script=Script(output=[OutputFile(content=b"a picture", name="a.png")]),
    schema=openapi_schema(
        {"prompt": {"type": "string"}, "seed": {"type": "integer"}},
        {"type": "array", "items": FILE},
        required=["prompt"],
    ),
)
ENLARGE = ScriptedModel(
    name="acme/enlarge",
    official=True,
    script=Script(output=OutputFile(content=b"a large picture", name="b.png")),
    schema=openapi_schema({"image": FILE, "scale": {"type": "integer", "maximum": 10}}, FILE, required=["image"]),
)
CHAIN = Chain(
    [
        Step("draw", "acme/draw", {"prompt": Ref("prompt"), "seed": "{seed}"}),
        Step("enlarge", "acme/enlarge", {"image": "{draw.output[0]}", "scale": 2}),
    ]
)
pytestmark = pytest.mark.replicate_api(DRAW, ENLARGE)


def made(api: ScriptedAPI) -> dict[str, int]:
    return dict(Counter(prediction.model.removeprefix("acme/") for prediction in api.predictions))


def script(api: ScriptedAPI, model: ScriptedModel, **changes: Any) -> None:
    """Let the model run another script from now on."""
    api.models[model.name] = msgspec.structs.replace(model, script=msgspec.structs.replace(model.script, **changes))


def test_each_step_gets_the_output_of_the_step_before(api: ScriptedAPI, tmp_path: Path) -> None:
    result = run(CHAIN, {"prompt": "a lake", "seed": 7}, key="poster", save_to=tmp_path)
    draw, enlarge = result.steps["draw"], result.steps["enlarge"]
    assert [prediction.input for prediction in api.predictions] == [
        {"prompt": "a lake", "seed": 7},
        {"image": draw.output[0], "scale": 2},
    ]
    assert (draw.key, enlarge.key, result.key) == ("poster/draw", "poster/enlarge", "poster")
    assert (result.status, result.output, result.files) == ("succeeded", enlarge.output, enlarge.files)
    assert [path.read_bytes() for path in draw.files + enlarge.files] == [b"a picture", b"a large picture"]
    assert list(result.to_dict()["steps"]) == ["draw", "enlarge"]


def test_a_chain_with_a_known_key_creates_nothing_again_and_another_input_is_refused(api: ScriptedAPI) -> None:
    first = run(CHAIN, {"prompt": "a lake"}, key="poster")
    before = len(api.requests)
    assert run(CHAIN, {"prompt": "a lake"}, key="poster").steps == first.steps
    assert {request.operation for request in api.requests[before:]} == {"model"}
    with pytest.raises(KeyInUseError, match="step draw: the key 'poster/draw' belongs to another job"):
        run(CHAIN, {"prompt": "a fox"}, key="poster")
    larger = Chain([CHAIN.steps[0], Step("enlarge", "acme/enlarge", {"image": "{draw.output[0]}", "scale": 4})])
    with pytest.raises(KeyInUseError, match="step enlarge: the key 'poster/enlarge' belongs to another job"):
        run(larger, {"prompt": "a lake"}, key="poster")
    assert made(api) == {"draw": 1, "enlarge": 1}


def test_a_chain_continues_at_the_step_whose_prediction_could_not_be_created(api: ScriptedAPI) -> None:
    with Client() as client:
        api.faults.next("create", "slow(0s)")
        api.faults.next("create", "402")
        with pytest.raises(PaymentRequiredError, match="step enlarge: "):
            client.run(CHAIN, {"prompt": "a lake"}, key="poster")
        assert made(api) == {"draw": 1}
        assert client.run(CHAIN, {"prompt": "a lake"}, key="poster").status == "succeeded"
    assert made(api) == {"draw": 1, "enlarge": 1}


def test_a_failed_step_gets_a_new_prediction_only_with_retry_failed(api: ScriptedAPI) -> None:
    script(api, ENLARGE, end="failed", error="out of memory", output=None)
    for _ in range(2):
        failed = run(CHAIN, {"prompt": "a lake"}, key="poster")
        assert (failed.status, failed.error, failed.steps["draw"].status) == ("failed", "out of memory", "succeeded")
    assert made(api) == {"draw": 1, "enlarge": 1}
    script(api, ENLARGE)
    good = run(CHAIN, {"prompt": "a lake"}, key="poster", retry_failed=True)
    assert (good.status, good.steps["enlarge"].key) == ("succeeded", "poster~2/enlarge")
    assert run(CHAIN, {"prompt": "a lake"}, key="poster", retry_failed=True).steps == good.steps
    assert made(api) == {"draw": 1, "enlarge": 2}


def test_a_step_that_fails_ends_the_chain(api: ScriptedAPI) -> None:
    script(api, DRAW, end="failed", error="no", output=None)
    result = run(CHAIN, {"prompt": "a lake"})
    assert (result.status, result.model, list(result.steps)) == ("failed", "acme/draw", ["draw"])
    assert made(api) == {"draw": 1}


async def test_a_step_starts_while_the_outputs_of_the_step_before_it_are_still_downloaded(
    api: ScriptedAPI, tmp_path: Path
) -> None:
    api.faults.next("download", "hang")
    async with AsyncClient(save_to=tmp_path) as client:
        running = asyncio.create_task(client.run(CHAIN, {"prompt": "a lake"}, key="poster"))
        await asyncio.to_thread(
            api.wait_until, lambda: made(api) == {"draw": 1, "enlarge": 1} and api.count("download")
        )
        assert saved(tmp_path) == set()
        running.cancel()
        await asyncio.wait([running])


def saved(folder: Path) -> set[str]:
    """The contents of the pictures that are complete, except the second step's."""
    return {path.read_text() for path in folder.rglob("*.png")} - {"a large picture"}


@pytest.mark.parametrize("size", [10, INLINE + 1])
def test_an_output_whose_url_has_expired_is_sent_from_the_downloaded_file(
    api: ScriptedAPI, tmp_path: Path, size: int
) -> None:
    picture = OutputFile(content=b"x" * size, name="a.png")
    script(api, DRAW, output=[picture], overrides=LONG_AGO)
    both = Chain([*CHAIN.steps, Step("again", "acme/enlarge", {"image": "{draw.output[0]}", "scale": 3})])
    result = run(both, {"prompt": "a lake"}, save_to=tmp_path, key="poster")
    assert result.status == "succeeded"
    assert [upload.content for upload in api.uploads] == ([picture.content] if size > INLINE else [])
    sent = {prediction.input["image"] for prediction in api.predictions if prediction.model == "acme/enlarge"}
    assert len(sent) == 1
    assert not sent & set(result.steps["draw"].output)
    again = run(both, {"prompt": "a lake"}, save_to=tmp_path, key="poster")
    assert {step.prediction_id for step in again.steps.values()} == {each.id for each in api.predictions}
    assert made(api) == {"draw": 1, "enlarge": 2}


async def test_outputs_of_an_ended_local_server_are_read_from_the_downloaded_files(
    api: ScriptedAPI, connect: Callable[..., Any], tmp_path: Path
) -> None:
    """If a file is gone too, its step and the steps that used it run again. On a local server that is free."""

    async def go() -> Result:
        async with connect(api) as context:
            return await run_in(context)

    async def run_in(context: Context) -> Result:
        local = msgspec.structs.replace(context, ephemeral=True)
        plan = await plan_chain(local, CHAIN)
        return await run_chain(local, plan, Ask(chain_job(CHAIN, {"prompt": "a lake"}), "poster", str(tmp_path)))

    script(api, ENLARGE, output=None, duration=math.inf)
    async with connect(api) as context, asyncio.timeout(20):
        running = asyncio.create_task(run_in(context))
        await asyncio.to_thread(api.wait_until, lambda: made(api) == {"draw": 1, "enlarge": 1})
        while (await context.journal.get("poster/draw")).step != "done":  # noqa: ASYNC110 - the journal tells nobody
            await asyncio.sleep(0.005)
        running.cancel()
        await asyncio.wait([running])
    script(api, ENLARGE)
    good = await go()
    assert good.steps["enlarge"].input["image"].startswith("data:image/png;base64,")
    assert made(api) == {"draw": 1, "enlarge": 2}
    good.steps["draw"].files[0].unlink()
    assert (await go()).steps["draw"].files[0].exists()
    assert made(api) == {"draw": 2, "enlarge": 3}


def test_an_expired_output_that_was_not_downloaded_raises_an_error(api: ScriptedAPI) -> None:
    script(api, DRAW, overrides=LONG_AGO)
    with pytest.raises(JobError, match="step enlarge: the output of the step draw is deleted from the API, which"):
        run(CHAIN, {"prompt": "a lake"})
    assert made(api) == {"draw": 1}


def test_a_job_keeps_its_url_input_after_the_url_has_expired(api: ScriptedAPI, tmp_path: Path) -> None:
    with Client(save_to=tmp_path) as client:
        script(api, ENLARGE, duration=math.inf)
        with pytest.raises(JobTimeoutError):
            client.run(CHAIN, {"prompt": "a lake"}, key="poster", timeout=1)
    assert made(api) == {"draw": 1, "enlarge": 1}
    api.predictions[-1].finish()
    with Client(save_to=tmp_path) as client:
        assert client.run(CHAIN, {"prompt": "a lake"}, key="poster").status == "succeeded"
    assert made(api) == {"draw": 1, "enlarge": 1}


@pytest.mark.parametrize(
    ("step", "given", "problem"),
    [
        ({"image": "{draw.output}"}, {"prompt": "x"}, "step enlarge, input image: {draw.output} is a list of files"),
        ({"image": "{draw.output[0]}", "scale": 99}, {"prompt": "x"}, "step enlarge: scale: 99 is above the maximum"),
        ({"image": "{draw.output[0]}", "sale": 2}, {"prompt": "x"}, "step enlarge: sale is not an input of this model"),
        ({"imag": "{draw.output[0]}"}, {"prompt": "x"}, "step enlarge: imag is not an input of this model, did you"),
        ({"scale": 2}, {"prompt": "x"}, "step enlarge: image is required"),
        ({"image": "{draw.output[0]}", "scale": "{n}"}, {"prompt": "x", "n": 99}, "n: 99 is above the maximum of 10"),
        ({"image": "{draw.output[0]}"}, {"prompt": "x", "seed": "y"}, 'seed: "y" is not an integer'),
        ({"image": "{draw.output[0]}"}, {}, "prompt is required"),
        ({"image": "{draw.output[0]}"}, {"promt": "x"}, "promt is not an input of this model, did you mean prompt?"),
    ],
)
def test_every_problem_of_a_chain_is_reported_before_anything_is_paid(
    api: ScriptedAPI, step: dict[str, Any], given: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError) as raised:
        run(Chain([CHAIN.steps[0], Step("enlarge", "acme/enlarge", step)]), given)
    assert problem in str(raised.value)
    assert api.count("create") == api.count("file") == 0


def test_a_missing_model_is_reported_before_anything_is_paid(api: ScriptedAPI) -> None:
    with pytest.raises(ModelNotFoundError, match="acme/nothing was not found"):
        run(Chain([CHAIN.steps[0], Step("b", "acme/nothing", {"image": "{draw.output[0]}"})]), {"prompt": "x"})
    assert api.count("create") == 0


@pytest.mark.usefixtures("api")
def test_streamed_pieces_of_text_are_joined_for_the_next_step() -> None:
    talk = Step("talk", "meta/llama-2-70b-chat", {"prompt": "{topic}"})
    result = run(Chain([talk, Step("draw", "acme/draw", {"prompt": "{talk.output}"})]), {"topic": "x"})
    assert result.input == {"prompt": "Once upon a time."}


def test_independent_steps_run_at_the_same_time(api: ScriptedAPI) -> None:
    script(api, DRAW, duration=math.inf)
    chain = Chain(
        [
            Step("a", "acme/draw", {"prompt": "{x}"}),
            Step("b", "acme/draw", {"prompt": "{x}"}),
            Step("c", "acme/enlarge", {"image": "{b.output[0]}"}),
        ]
    )
    with pytest.raises(JobTimeoutError, match="step a: "):
        run(chain, {"x": "y"}, timeout=1)
    assert made(api) == {"draw": 2}


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (Path("nowhere.png"), "step enlarge: the input does not fit acme/enlarge: image: nowhere.png cannot be read"),
        (b"a picture", "step enlarge: the input does not fit acme/enlarge: image"),
    ],
)
def test_a_chain_with_a_missing_file_is_refused_before_its_first_step(
    api: ScriptedAPI, image: Any, problem: str
) -> None:
    with pytest.raises(JobError) as raised:
        run(Chain([CHAIN.steps[0], Step("enlarge", "acme/enlarge", {"image": image})]), {"prompt": "x"})
    assert str(raised.value).startswith(problem)
    assert api.requests == []


def test_files_of_the_caller_and_of_steps_are_sent(api: ScriptedAPI, tmp_path: Path) -> None:
    (tmp_path / "own.png").write_bytes(b"own")
    steps = [
        Step("given", "acme/enlarge", {"image": Ref("sketch")}),
        Step("own", "acme/enlarge", {"image": tmp_path / "own.png"}),
    ]
    for _ in range(2):
        result = run(Chain(steps), {"sketch": b"sketch"}, key="poster")
    assert result.steps["own"].sent == {"image": "own.png"}
    sent = {prediction.input["image"].rpartition(",")[2] for prediction in api.predictions}
    assert sent == {base64.b64encode(content).decode() for content in (b"sketch", b"own")}
    assert made(api) == {"enlarge": 2}


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda client: client.run(CHAIN, {"prompt": "x"}, cancel_after="5m"), "cancel_after is an option for a job"),
        (
            lambda client: client.run(Job("acme/draw"), {"prompt": "x"}, retry_failed=True),
            "retry_failed is for a chain",
        ),
        (lambda client: client.submit(CHAIN, {"prompt": "x"}), "job is a Chain: run it"),
        (
            lambda client: list(client.batch(CHAIN, [{"prompt": "x"}], max_cost=1)),
            "the price of acme/draw is not known",
        ),
        (lambda client: client.batch(CHAIN, [{}], webhook="https://example.com"), "webhook is an option for a job"),
    ],
)
def test_options_that_chains_lack_are_refused(api: ScriptedAPI, call: Callable[[Client], object], problem: str) -> None:
    with Client() as client, pytest.raises(JobError, match=problem):
        call(client)
    assert api.created == 0


def test_a_row_runs_its_later_steps_while_other_rows_run_their_first(api: ScriptedAPI) -> None:
    """The first row ends while the second row's first step still runs."""
    api.models["acme/draw"] = msgspec.structs.replace(
        DRAW, script=lambda given: DRAW.script if given["seed"] == 1 else Script(duration=math.inf)
    )
    rows = [{"prompt": "a lake", "seed": 1}, {"prompt": "a fox", "seed": 2}]
    with Client() as client:
        first = next(iter(client.batch(CHAIN, rows)))
    assert (first.line, first.status, list(first.steps)) == (1, "succeeded", ["draw", "enlarge"])
    assert made(api) == {"draw": 2, "enlarge": 1}


def test_a_batch_of_chains_continues_where_it_stopped(api: ScriptedAPI, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("prompt,seed\na lake,1\na fox,2\n,3\na tree,x\n")
    script(api, ENLARGE, end="failed", error="busy", output=None)
    first = {result.line: result for result in batch(CHAIN, rows)}
    assert {line: result.status for line, result in first.items()} == {2: "failed", 3: "failed", 4: "error", 5: "error"}
    assert first[4].problem == "the input does not fit draw > enlarge: prompt is required"
    assert first[2].steps["draw"].input == {"prompt": "a lake", "seed": 1}
    again = {result.line: result for result in batch(CHAIN, rows)}
    assert again[2].steps == {name: msgspec.structs.replace(step) for name, step in first[2].steps.items()}
    assert made(api) == {"draw": 2, "enlarge": 2}
    script(api, ENLARGE)
    results = batch(CHAIN, rows, retry_failed=True)
    good = {result.line: result for result in results if result.status == "succeeded"}
    assert {result.key.partition("/")[2].partition("-")[0] for result in good.values()} == {"2", "3"}
    assert made(api) == {"draw": 2, "enlarge": 4}
    assert (results.tally.succeeded, results.tally.wrong, results.tally.created) == (2, 2, 2)


@pytest.mark.parametrize("overrides", [{}, LONG_AGO], ids=["url", "file"])
def test_a_batch_that_stops_starts_no_further_step(api: ScriptedAPI, tmp_path: Path, overrides: dict[str, Any]) -> None:
    """The second row's first step ends after the first row has failed."""
    slow = msgspec.structs.replace(DRAW.script, duration=math.inf, overrides=overrides)
    api.models["acme/draw"] = msgspec.structs.replace(
        DRAW,
        script=lambda given: slow if given["seed"] == 2 else msgspec.structs.replace(slow, duration=0, end="failed"),
    )
    rows = [{"prompt": "a lake", "seed": 2}, {"prompt": "a fox", "seed": 1}]
    with Client(save_to=tmp_path) as client:
        results = iter(client.batch(CHAIN, rows, key="posters", fail_fast=True))
        assert next(results).line == 2
        api.predictions[0].finish()
        assert list(results) == []
        assert made(api) == {"draw": 2}
        assert sorted(result.status for result in client.batch(CHAIN, rows, key="posters")) == ["failed", "succeeded"]
    assert made(api) == {"draw": 2, "enlarge": 1}


def test_a_row_of_a_batch_of_chains_may_have_any_name(api: ScriptedAPI) -> None:
    names = ["x", "x/draw", "x/draw/enlarge", "~2"]
    rows = [{"prompt": name, "name": name} for name in names]
    for _ in range(2):
        results = list(batch(CHAIN, rows, id="name", key="posters"))
        assert {result.line: result.steps["draw"].input["prompt"] for result in results} == dict(enumerate(names, 1))
    assert made(api) == {"draw": 4, "enlarge": 4}


def test_a_chain_is_found_by_its_key(api: ScriptedAPI) -> None:
    script(api, ENLARGE, end="failed", error="busy", output=None)
    with Client() as client:
        client.run("acme/draw", {"prompt": "no step"}, key="poster/other")
        failed = client.run(CHAIN, {"prompt": "a lake"}, key="poster")
        assert client.get("poster").steps.keys() == {"draw", "enlarge"}
        assert (client.get("poster").status, client.get("poster").error) == (failed.status, "busy")
        script(api, ENLARGE)
        good = client.run(CHAIN, {"prompt": "a lake"}, key="poster", retry_failed=True)
        assert client.get("poster").steps == good.steps
        row = next(iter(client.batch(CHAIN, [{"prompt": "a fox"}], key="posters")))
        assert client.get(row.key).steps["draw"].input == {"prompt": "a fox"}
        with pytest.raises(UnknownJobError):
            client.get("post")


def test_running_predictions_of_a_chain_are_canceled_by_its_key(api: ScriptedAPI) -> None:
    script(api, ENLARGE, boot=0, duration=math.inf)
    with Client() as client:
        with pytest.raises(JobTimeoutError):
            client.run(CHAIN, {"prompt": "a lake"}, key="poster", timeout=1)
        assert client.get("poster").status == "processing"
        canceled = client.cancel("poster")
        assert canceled
        assert (canceled.status, canceled.steps["draw"].status) == ("canceled", "succeeded")
        with pytest.raises(UnknownJobError):
            client.cancel("post")
    assert [prediction.status for prediction in api.predictions] == ["succeeded", "canceled"]


@pytest.mark.usefixtures("api")
def test_a_single_job_does_not_import_chains() -> None:
    code = (
        "import sys; from replicate_job import run, batch; run('acme/private', {}); list(batch('acme/private', [{}]));"
        "print([name for name in sys.modules if 'chain' in name and name.startswith('replicate_job')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.long
def test_a_finished_batch_of_chains_reads_no_file_from_the_bucket_again(
    api: ScriptedAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(api, DRAW, overrides=LONG_AGO)
    rows = [{"prompt": "a lake"}, {"prompt": "a fox"}]
    with S3() as s3, Client() as client:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        s3.make("pictures")
        for again in (False, True):
            before = len(s3.requests)
            results = list(client.batch(CHAIN, rows, key="posters", save_to="s3://pictures/{key}/{id}-{name}"))
            read = [request for request in s3.requests[before:] if request.startswith("GET")]
            assert len(read) == (0 if again else 2), read
            assert [result.raise_for_status().status for result in results] == ["succeeded"] * 2
    assert made(api) == {"draw": 2, "enlarge": 2}
