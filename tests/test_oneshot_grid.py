"""Templates, grids and several models from Python: the created predictions, and the results' fields."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from replicate_job import Result, batch
from replicate_job.errors import ColumnsError, JobError, ModelNotFoundError
from replicate_job.testing import OutputFile, Script, ScriptedAPI, openapi_schema
from replicate_job.testing.models import ScriptedModel

INSTANT = Script(duration=0, boot=0, output="done")
PROMPT = {"prompt": {"type": "string"}, "seed": {"type": "integer"}}
FIRST = ScriptedModel(name="acme/first", official=True, script=INSTANT, schema=openapi_schema(PROMPT))
SECOND = ScriptedModel(
    name="acme/second",
    official=True,
    script=Script(duration=0, boot=0, output=OutputFile(content=b"image", name="a.png")),
    schema=openapi_schema({**PROMPT, "seed": {"type": "string"}}, {"type": "string", "format": "uri"}),
)
THIRD = ScriptedModel(
    name="acme/third", official=True, script=INSTANT, schema=openapi_schema({"text": {"type": "string"}})
)

pytestmark = [pytest.mark.usefixtures("api"), pytest.mark.replicate_api(FIRST, SECOND, THIRD)]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "state"))


def run(rows: Any, **options: Any) -> list[Result]:
    chosen: dict[str, Any] = {"key": "batch", "rate": "none"} | options
    return sorted(batch("acme/first", rows, **chosen), key=lambda result: (result.line, result.model, str(result.grid)))


def sent(api: ScriptedAPI) -> Counter[str]:
    return Counter(str(prediction.input) for prediction in api.predictions)


def test_every_row_runs_with_every_combination_and_each_result_names_its_combination(api: ScriptedAPI) -> None:
    results = run([{"prompt": "a"}, {"prompt": "b"}], grid={"seed": range(1, 4)})
    assert [(result.line, result.grid, result.input) for result in results] == [
        (line, {"seed": seed}, {"prompt": prompt, "seed": seed})
        for line, prompt in ((1, "a"), (2, "b"))
        for seed in (1, 2, 3)
    ]
    assert results[0].to_dict()["grid"] == {"seed": 1}
    assert api.created == 6


def test_a_value_that_is_added_later_creates_only_its_own_combinations(api: ScriptedAPI) -> None:
    rows = [{"prompt": "a"}, {"prompt": "b"}]
    first = run(rows, grid={"seed": [1, 2]})
    again = run(rows, grid={"seed": [3, 2, 1]})
    assert api.created == 6
    before = {result.key: result.prediction_id for result in first}
    assert before.items() <= {result.key: result.prediction_id for result in again}.items()
    assert max(sent(api).values()) == 1


def test_rows_with_a_name_can_change_their_position_without_being_paid_for_again(api: ScriptedAPI) -> None:
    rows = [{"id": "x", "prompt": "a"}, {"id": "y", "prompt": "b"}]
    run(rows, id="id", grid={"seed": [1, 2]})
    results = run(rows[::-1], id="id", grid={"seed": [1, 2]})
    assert api.created == 4
    assert [(result.line, result.key) for result in results] == [
        (line, f"batch/{name}+seed={seed}") for line, name in ((1, "y"), (2, "x")) for seed in (1, 2)
    ]


def test_every_row_runs_for_every_model_with_the_types_of_its_own_schema(api: ScriptedAPI, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("prompt,seed\na,1\nb,2\n")
    results = run(table, models=["acme/second", "acme/first"], save_to=tmp_path / "outputs")
    assert [(result.line, result.model, result.input["seed"]) for result in results] == [
        (2, "acme/first", 1),
        (2, "acme/second", "1"),
        (3, "acme/first", 2),
        (3, "acme/second", "2"),
    ]
    assert [len(result.files) for result in results] == [0, 1, 0, 1]
    assert api.created == 4


def test_rows_of_the_first_model_are_not_paid_for_again_when_a_model_is_added(api: ScriptedAPI) -> None:
    rows = [{"prompt": "a"}, {"prompt": "b"}]
    alone = run(rows)
    both = run(rows, models=["acme/second"])
    assert api.created == 4
    assert {result.prediction_id for result in alone} < {result.prediction_id for result in both}


def test_results_of_each_model_have_its_own_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prices.toml").write_text('[models]\n"acme/first" = "0.5/run"\n"acme/second" = "0.25/image"\n')
    monkeypatch.setenv("REPLICATE_JOB_PRICES", str(tmp_path / "prices.toml"))
    results = run([{"prompt": "a"}], models=["acme/second"], save_to=tmp_path / "outputs")
    assert {result.model: str(result.cost) for result in results} == {"acme/first": "0.5", "acme/second": "0.25"}


def test_several_models_share_a_cost_limit_and_each_has_its_own_price(api: ScriptedAPI) -> None:
    price = {"acme/first": "0.01/run", "acme/second": "0.03/run"}
    options: dict[str, Any] = {"models": ["acme/second"], "price": price, "key": "both", "concurrency": 2}
    rows = [{"prompt": str(number)} for number in range(10)]
    results = run(rows, max_cost=0.1, **options)
    costs = {"acme/first": Decimal("0.01"), "acme/second": Decimal("0.03")}
    assert {result.model: result.cost for result in results} == costs
    assert sum(costs[result.model] for result in results) in {Decimal("0.08"), Decimal("0.09"), Decimal("0.10")}
    assert api.created == len(results)
    assert len(run(rows, max_cost=1, **options)) == 20
    assert api.created == 20


def test_templates_are_filled_from_columns_together_with_values_of_the_grid() -> None:
    results = run(
        [{"animal": "a fox", "n": 7}],
        set={"prompt": "{animal} in {style}", "seed": "{n}"},
        grid={"style": ["oil", "ink"]},
    )
    assert [(result.grid, result.input) for result in results] == [
        ({"style": style}, {"prompt": f"a fox in {style}", "seed": 7}) for style in ("ink", "oil")
    ]


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"models": ["acme/third"]}, ColumnsError, "prompt is not an input of acme/third"),
        ({"models": ["acme/none"]}, ModelNotFoundError, "acme/none"),
        ({"models": ["nonsense"]}, JobError, "nonsense"),
        (
            {"models": ["acme/second"], "price": "0.1/run"},
            JobError,
            "name the model of each price: --price acme/first=0",
        ),
        (
            {"models": ["acme/second"], "max_cost": 5, "price": {"acme/first": "1/run"}},
            JobError,
            "--price acme/second",
        ),
        (
            {"models": ["acme/second"], "price": {"acme/third": "1/run"}},
            JobError,
            "acme/third is no model",
        ),
        ({"set": {"prompt": "{promt}"}}, ColumnsError, "there is no {promt}; did you mean {prompt}?"),
        ({"set": {"prompt": "{"}}, JobError, "column 1"),
        ({"grid": {"seed": [1]}, "save_to": "out/{line}/{name}"}, JobError, "it needs {key} or {id}"),
        ({"grid": {"sed": [1]}}, ColumnsError, "did you mean seed?"),
        ({"grid": {"seed": []}}, JobError, "has no values"),
        ({"grid": {"seed": [1, 1]}}, JobError, "1 is there twice"),
        ({"set": {"seed": "{prompt}"}, "grid": {"seed": [1]}}, JobError, "leave one of them out"),
    ],
)
def test_an_invalid_option_raises_an_error_before_anything_is_paid(
    api: ScriptedAPI, options: dict[str, Any], kind: type[JobError], words: str
) -> None:
    with pytest.raises(kind) as error:
        run([{"prompt": "a"}], **options)
    assert words in str(error.value)
    assert not api.count("create")


def test_a_grid_value_that_does_not_fit_is_reported_in_the_result_of_each_of_its_rows(api: ScriptedAPI) -> None:
    results = run([{"prompt": "a"}], grid={"seed": ["x", 1]})
    assert [(result.status, result.grid) for result in results] == [
        ("error", {"seed": "x"}),
        ("succeeded", {"seed": 1}),
    ]
    assert api.created == 1
