"""The cost limit of a batch of chains, and the reported costs of its steps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_job import Chain, Client, Result, Step
from replicate_job.errors import JobError
from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedModel, openapi_schema

FILE: dict[str, Any] = {"type": "string", "format": "uri"}
DRAW = ScriptedModel(
    name="acme/draw",
    official=True,
    script=Script(duration=0.02, boot=0, output=[OutputFile(content=b"a picture", name="a.png")]),
    schema=openapi_schema({"prompt": {"type": "string"}}, {"type": "array", "items": FILE}, required=["prompt"]),
)
ENLARGE = ScriptedModel(
    name="acme/enlarge",
    official=True,
    script=Script(duration=0.02, boot=0, output=OutputFile(content=b"a large picture", name="b.png")),
    schema=openapi_schema({"image": FILE}, FILE, required=["image"]),
)
CHAIN = Chain(
    [
        Step("draw", "acme/draw", {"prompt": "{prompt}"}),
        Step("enlarge", "acme/enlarge", {"image": "{draw.output[0]}"}),
    ]
)
EACH = Chain([CHAIN.steps[0], Step("enlarge", "acme/enlarge", {"image": "{each}"}, for_each="{draw.output}")])
PRICES = {"draw": "0.01/run", "enlarge": "0.02/run"}
pytestmark = pytest.mark.replicate_api(DRAW, ENLARGE)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("REPLICATE_JOB_PRICES", raising=False)


def rows(number: int) -> list[dict[str, Any]]:
    return [{"prompt": f"row {line}"} for line in range(number)]


def run(chain: Chain, number: int, **options: Any) -> list[Result]:
    with Client() as client:
        return list(client.batch(chain, rows(number), key="posters", **options))


def made(api: ScriptedAPI) -> dict[str, int]:
    return dict(Counter(prediction.model.removeprefix("acme/") for prediction in api.predictions))


def spent(api: ScriptedAPI) -> float:
    return made(api).get("draw", 0) * 0.01 + made(api).get("enlarge", 0) * 0.02


@pytest.mark.long
def test_a_chain_costs_the_sum_of_its_steps_and_nothing_is_created_beyond_the_limit(api: ScriptedAPI) -> None:
    results = run(CHAIN, 30, max_cost=0.305, price=PRICES)
    assert 0.28 < spent(api) <= 0.305
    assert {str(result.cost) for result in results} <= {"0.03"}
    again = run(CHAIN, 30, max_cost=0.305, price=PRICES)
    assert (spent(api) <= 0.305, len(again) >= len(results)) == (True, True)
    more = run(CHAIN, 30, max_cost=5, price=PRICES)
    assert (len(more), made(api)) == (30, {"draw": 30, "enlarge": 30})
    assert {(str(result.cost), result.cost_source) for result in more} == {("0.03", "user")}
    assert {str(step.cost) for result in more for step in result.steps.values()} == {"0.01", "0.02"}


def test_the_predictions_of_a_for_each_step_count_toward_the_cost_limit(api: ScriptedAPI) -> None:
    files = [OutputFile(content=bytes([number]), name="a.png") for number in range(5)]
    api.models[DRAW.name] = msgspec.structs.replace(DRAW, script=Script(duration=0.02, boot=0, output=files))
    run(EACH, 2, max_cost=0.06, price=PRICES, concurrency=1)
    assert made(api) == {"draw": 1, "enlarge": 2}
    assert len(run(EACH, 2, max_cost=0.22, price=PRICES)) == 2
    assert made(api) == {"draw": 2, "enlarge": 10}


def test_the_cost_of_a_chain_includes_a_failed_attempt_and_the_attempt_after_it(api: ScriptedAPI) -> None:
    failing = Script(end="failed", error="no", duration=0.02, boot=0)
    api.models[ENLARGE.name] = msgspec.structs.replace(ENLARGE, script=failing)
    [result] = run(CHAIN, 1, price=PRICES)
    assert (result.status, str(result.cost)) == ("failed", "0.03")
    api.models[ENLARGE.name] = ENLARGE
    for _ in range(2):  # as it ends, and as the journal has it
        [result] = run(CHAIN, 1, price=PRICES, retry_failed=True)
        assert (result.status, str(result.cost)) == ("succeeded", "0.05")


@pytest.mark.parametrize("names", [("draw", "enlarge"), ("acme/draw", "acme/enlarge"), ("draw", "acme/enlarge")])
def test_a_price_can_be_given_for_a_step_or_for_a_model(api: ScriptedAPI, names: tuple[str, str]) -> None:
    [result] = run(CHAIN, 1, price=dict(zip(names, PRICES.values(), strict=True)))
    assert (str(result.cost), made(api)) == ("0.03", {"draw": 1, "enlarge": 1})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_cost": 1}, "the price of acme/draw is not known: give --price draw=PRICE"),
        ({"max_cost": 1, "price": {"draw": "1/run"}}, "the price of acme/enlarge is not known: give --price enlarge="),
        ({"price": "1/run"}, "name the step or the model of this price: --price draw=1/run"),
        ({"price": {"drew": "1/run"}}, "drew is neither a step of the chain nor a model: these are draw, enlarge, ac"),
        ({"price": {"draw": "1/run", "acme/draw": "2/run"}}, "acme/draw has two prices, and its steps cost the same"),
        ({"price": {"draw": "cheap"}}, "'cheap' is neither a price"),
        ({"models": ["acme/draw"]}, "models is for a batch of one model"),
    ],
)
def test_a_missing_or_wrong_price_raises_an_error_before_anything_is_created(
    api: ScriptedAPI, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(JobError, match=problem):
        run(CHAIN, 1, **options)
    assert api.created == 0
