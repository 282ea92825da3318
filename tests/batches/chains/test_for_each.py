"""Steps that run for each element of a list: each element's job is created once, and the outputs are gathered."""

from __future__ import annotations

import math
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_job import Chain, Client, Ref, Result, Step, batch, run
from replicate_job.batches.results.record import to_record
from replicate_job.chain import MOST
from replicate_job.errors import InputError, JobError, JobTimeoutError, PaymentRequiredError
from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedModel, openapi_schema

FILE: dict[str, Any] = {"type": "string", "format": "uri"}
LONG_AGO = {"completed_at": "2025-03-14T10:00:00.000000Z"}


def draw(given: dict[str, Any]) -> Script:
    return Script(
        output=[OutputFile(content=f"{given['prompt']} {n}".encode(), name="a.png") for n in range(given["n"])]
    )


DRAW = ScriptedModel(
    name="acme/draw",
    official=True,
    script=draw,
    schema=openapi_schema(
        {"prompt": {"type": "string"}, "n": {"type": "integer"}},
        {"type": "array", "items": FILE},
        required=["prompt", "n"],
    ),
)
LARGE = Script(output=OutputFile(content=b"large", name="b.png"))
ENLARGE = ScriptedModel(
    name="acme/enlarge",
    official=True,
    script=LARGE,
    schema=openapi_schema({"image": FILE, "scale": {"type": "integer", "maximum": 10}}, FILE, required=["image"]),
)
JOIN = ScriptedModel(
    name="acme/join",
    official=True,
    script=lambda given: Script(output=f"{len(given['images'])} pictures"),
    schema=openapi_schema({"images": {"type": "array", "items": FILE}}, {"type": "string"}, required=["images"]),
)
NAME = ScriptedModel(
    name="acme/name",
    official=True,
    script=lambda given: Script(output=[f"fox {number}" for number in range(given["n"])]),
    schema=openapi_schema({"n": {"type": "integer"}}, {"type": "array", "items": {"type": "string"}}),
)
STEPS = [
    Step("draw", "acme/draw", {"prompt": Ref("prompt"), "n": Ref("n")}),
    Step("enlarge", "acme/enlarge", {"image": Ref("each"), "scale": 2}, for_each=Ref("draw.output")),
    Step("join", "acme/join", {"images": "{enlarge.output}"}),
]
CHAIN = Chain(STEPS)
pytestmark = pytest.mark.replicate_api(DRAW, ENLARGE, JOIN, NAME)


def made(api: ScriptedAPI) -> dict[str, int]:
    return dict(Counter(prediction.model.removeprefix("acme/") for prediction in api.predictions))


def fail_one(api: ScriptedAPI, *, drawing: int = 0) -> None:
    """Let the job for the second picture of a drawing fail."""

    def script(given: dict[str, Any]) -> Script:
        drawings = [prediction for prediction in api.predictions if prediction.model == DRAW.name]
        is_bad = len(drawings) > drawing and given["image"] == drawings[drawing].output[1]
        return Script(end="failed", error="too much") if is_bad else LARGE

    api.models[ENLARGE.name] = msgspec.structs.replace(ENLARGE, script=script)


def test_each_list_element_has_its_own_job_and_the_outputs_are_gathered_in_one_list(
    api: ScriptedAPI, tmp_path: Path
) -> None:
    result = run(CHAIN, {"prompt": "a lake", "n": 3}, key="poster", save_to=tmp_path)
    calls = ["enlarge[0]", "enlarge[1]", "enlarge[2]"]
    assert list(result.steps) == ["draw", *calls, "join"]
    pictures = result.steps["draw"].output
    assert [result.steps[call].input for call in calls] == [{"image": picture, "scale": 2} for picture in pictures]
    assert [result.steps[call].key for call in calls] == [f"poster/{call}" for call in calls]
    assert result.steps["join"].input == {"images": [result.steps[call].output for call in calls]}
    assert result.output == "3 pictures"
    again = run(CHAIN, {"prompt": "a lake", "n": 3}, key="poster", save_to=tmp_path)
    assert again.steps == result.steps
    with Client() as client:
        assert client.get("poster").steps == result.steps
    assert made(api) == {"draw": 1, "enlarge": 3, "join": 1}


def test_the_result_has_all_outputs_and_files_of_the_last_step(api: ScriptedAPI, tmp_path: Path) -> None:
    result = run(Chain(STEPS[:2]), {"prompt": "a lake", "n": 12}, save_to=tmp_path, key="poster")
    parts = [result.steps[f"enlarge[{index}]"] for index in range(12)]
    assert result.output == [part.output for part in parts]
    assert result.files == tuple(path for part in parts for path in part.files)
    assert result.gathered == tuple(parts)
    with Client() as client:
        assert client.get("poster").output == result.output
    assert made(api) == {"draw": 1, "enlarge": 12}


def test_a_step_for_an_empty_list_creates_nothing_and_its_output_is_an_empty_list(api: ScriptedAPI) -> None:
    result = run(CHAIN, {"prompt": "a lake", "n": 0})
    assert result.steps["enlarge"].output == []
    assert (result.status, result.output) == ("succeeded", "0 pictures")
    last = run(Chain(STEPS[:2]), {"prompt": "a fox", "n": 0})
    assert (last.status, last.model, last.output, last.prediction_id) == ("succeeded", "acme/enlarge", [], "")
    assert made(api) == {"draw": 2, "join": 1}


def test_only_the_failed_element_is_paid_for_again(api: ScriptedAPI, tmp_path: Path) -> None:
    fail_one(api)
    given = {"prompt": "a lake", "n": 3}
    for _ in range(2):
        failed = run(CHAIN, given, key="poster", save_to=tmp_path)
        assert (failed.status, failed.error, failed.model) == ("failed", "too much", "acme/enlarge")
        assert [step.status for step in failed.steps.values()] == ["succeeded", "succeeded", "failed", "succeeded"]
        assert failed.steps["enlarge[2]"].files[0].read_bytes() == b"large"
    assert made(api) == {"draw": 1, "enlarge": 3}
    api.models[ENLARGE.name] = ENLARGE
    good = run(CHAIN, given, key="poster", save_to=tmp_path, retry_failed=True)
    assert (good.status, good.steps["enlarge[1]"].key) == ("succeeded", "poster~2/enlarge[1]")
    assert made(api) == {"draw": 1, "enlarge": 4, "join": 1}


def test_a_chain_resumes_with_the_elements_that_have_no_prediction_yet(api: ScriptedAPI) -> None:
    with Client() as client:
        api.faults.next("create", "slow(0s)")
        api.faults.next("create", "slow(0s)")
        api.faults.next("create", "402")
        with pytest.raises(PaymentRequiredError, match=r"step enlarge\[\d\]: "):
            client.run(CHAIN, {"prompt": "a lake", "n": 3}, key="poster")
        assert made(api) == {"draw": 1, "enlarge": 2}
        assert client.run(CHAIN, {"prompt": "a lake", "n": 3}, key="poster").status == "succeeded"
    assert made(api) == {"draw": 1, "enlarge": 3, "join": 1}


def test_outputs_whose_urls_have_expired_are_read_from_the_downloaded_files(api: ScriptedAPI, tmp_path: Path) -> None:
    api.models[ENLARGE.name] = msgspec.structs.replace(
        ENLARGE, script=msgspec.structs.replace(LARGE, overrides=LONG_AGO)
    )
    result = run(CHAIN, {"prompt": "a lake", "n": 2}, key="poster", save_to=tmp_path)
    assert all(image.startswith("data:image/png;base64,") for image in api.predictions[-1].input["images"])
    assert run(CHAIN, {"prompt": "a lake", "n": 2}, key="poster", save_to=tmp_path).steps.keys() == result.steps.keys()
    assert made(api) == {"draw": 1, "enlarge": 2, "join": 1}


def test_a_list_with_more_elements_than_the_limit_raises_an_error_before_any_is_paid_for(api: ScriptedAPI) -> None:
    with pytest.raises(JobError, match=rf"step enlarge, for_each: .draw.output. has 101 items, and .* {MOST} at most"):
        run(CHAIN, {"prompt": "a lake", "n": MOST + 1})
    assert made(api) == {"draw": 1}


def test_elements_run_at_the_same_time_and_canceling_the_chain_by_its_key_cancels_each(api: ScriptedAPI) -> None:
    api.models[ENLARGE.name] = msgspec.structs.replace(ENLARGE, script=Script(duration=math.inf))
    with Client() as client:
        with pytest.raises(JobTimeoutError):
            client.run(CHAIN, {"prompt": "a lake", "n": 3}, key="poster", timeout=1)
        canceled = client.cancel("poster")
        assert canceled
        assert [step.status for step in canceled.steps.values()] == ["succeeded", *["canceled"] * 3]


def test_a_for_each_step_may_run_for_each_output_of_another_for_each_step(api: ScriptedAPI) -> None:
    again = Step("again", "acme/enlarge", {"image": "{each}"}, for_each="{enlarge.output}")
    result = run(Chain([*STEPS[:2], again]), {"prompt": "a lake", "n": 2})
    assert result.steps["again[1]"].input == {"image": result.steps["enlarge[1]"].output}
    assert made(api) == {"draw": 1, "enlarge": 4}


def each(model: str, given: dict[str, Any], of: str) -> Step:
    return Step("e", model, given, for_each=of)


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (each("acme/enlarge", {"image": "{each}"}, "{text.output}"), "e, for_each: {text.output} is text, and a list"),
        (each("acme/enlarge", {"image": "{each}"}, "{draw.output[0]}"), "e, for_each: {draw.output[0]} is a file"),
        (each("acme/enlarge", {"image": "{each[0]}"}, "{draw.output}"), "{each[0]} is not in what draw makes"),
        (each("acme/join", {"images": "{each}"}, "{draw.output}"), "{each} is a file, and this takes a list"),
        (each("acme/enlarge", {"image": "{each}", "scale": 99}, "{draw.output}"), "99 is above the maximum"),
        (Step("e", "acme/enlarge", {"image": "{gathered.output}"}), "{gathered.output} is a list of files, and this"),
    ],
)
def test_a_for_each_step_that_does_not_fit_the_chain_is_refused_before_anything_is_paid(
    api: ScriptedAPI, step: Step, problem: str
) -> None:
    steps = [
        STEPS[0],
        Step("text", "acme/join", {"images": "{draw.output}"}),
        Step("gathered", "acme/enlarge", {"image": "{each}"}, for_each="{draw.output}"),
        step,
    ]
    with pytest.raises(InputError) as raised:
        run(Chain(steps), {"prompt": "a lake", "n": 2})
    assert problem in str(raised.value)
    assert api.created == 0


def test_an_output_that_is_not_a_list_fails_the_for_each_step_that_uses_it(api: ScriptedAPI) -> None:
    api.models[DRAW.name] = msgspec.structs.replace(
        DRAW,
        script=Script(output="no list"),
        schema=openapi_schema({"prompt": {"type": "string"}, "n": {}}, {"title": "Output"}),
    )
    with pytest.raises(JobError, match=r'step enlarge, for_each: .draw.output. is no list: "no list"'):
        run(CHAIN, {"prompt": "a lake", "n": 2})
    assert made(api) == {"draw": 1}


def test_the_chains_of_a_batch_may_have_for_each_steps(api: ScriptedAPI, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("prompt,n\na lake,2\na tree,3\n")

    def go(**options: Any) -> dict[int, Result]:
        return {result.line: result for result in batch(CHAIN, rows, save_to=tmp_path / "out", **options)}

    fail_one(api)
    first = go()
    assert {line: result.status for line, result in first.items()} == {2: "failed", 3: "succeeded"}
    before = made(api)
    assert before == {"draw": 2, "enlarge": 5, "join": 1}
    again = go()
    assert {line: list(result.steps) for line, result in again.items()} == {
        line: list(result.steps) for line, result in first.items()
    }
    assert again[3] == first[3]
    assert made(api) == before
    api.models[ENLARGE.name] = ENLARGE
    assert {result.status for result in go(retry_failed=True).values()} == {"succeeded"}
    assert made(api) == {"draw": 2, "enlarge": 6, "join": 2}


def test_rows_whose_data_was_pruned_are_not_paid_for_again(api: ScriptedAPI, tmp_path: Path) -> None:
    name = Step("name", "acme/name", {"n": Ref("n")})
    draw = Step("draw", "acme/draw", {"prompt": "a {each}", "n": 1}, for_each="{name.output}")
    chain = Chain([name, draw])
    rows = tmp_path / "rows.csv"
    rows.write_text("n\n2\n0\n")
    first = {result.line: result for result in batch(chain, rows)}
    assert [len(first[line].output) for line in (2, 3)] == [2, 0]
    assert list(first[3].steps) == ["name", "draw"]
    assert made(api) == {"name": 2, "draw": 2}
    assert {result.line: result for result in batch(chain, rows)} == first
    with Client() as client:
        assert client.prune(older_than=timedelta(0)).jobs
    assert {result.line: result.status for result in batch(chain, rows)} == {2: "succeeded", 3: "succeeded"}
    assert made(api) == {"name": 2, "draw": 2}


@pytest.mark.long
def test_the_cost_of_a_chain_includes_the_earlier_attempts_of_its_steps(
    api: ScriptedAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = tmp_path / "prices.toml"
    costs = {"draw": "0.01/run", "enlarge": "0.002/run", "join": "0.5/run"}
    models = "".join(f'"acme/{name}" = "{price}"\n' for name, price in costs.items())
    prices.write_text(f"[models]\n{models}")
    monkeypatch.setenv("REPLICATE_JOB_PRICES", str(prices))
    rows = tmp_path / "rows.csv"
    rows.write_text("prompt,n\na lake,3\n")
    fail_one(api)
    given = {"prompt": "a lake", "n": 3}
    failed = [run(CHAIN, given, key="poster")]
    fail_one(api, drawing=1)
    failed += batch(CHAIN, rows)
    api.models[ENLARGE.name] = ENLARGE
    good = [run(CHAIN, given, key="poster", retry_failed=True), *batch(CHAIN, rows, retry_failed=True)]
    again = [run(CHAIN, given, key="poster", retry_failed=True), *batch(CHAIN, rows)]
    with Client() as client:
        again.append(client.get("poster"))
    assert [str(result.cost) for result in failed] == ["0.016", "0.016"]
    assert [(str(result.cost), result.cost_source) for result in (*good, *again)] == [("0.518", "user")] * 5
    assert to_record(good[1], tmp_path)["cost"] == good[1].cost
    prices.write_text('[models]\n"acme/draw" = "0.01/run"\n')
    assert run(CHAIN, given, key="poster").cost is None
