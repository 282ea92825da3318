"""The cost of a batch: the estimate, the cost in its results, and a limit that holds even if the batch is killed."""

from __future__ import annotations

import random
import re
import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.testing import Script, ScriptedAPI

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Command, Outcome

HELLO = "replicate/hello-world"
FLUX = "black-forest-labs/flux-schnell"


def write(command: Command, *inputs: dict[str, Any]) -> None:
    (command.folder / "rows.jsonl").write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in inputs))


def texts(command: Command, count: int) -> None:
    write(command, *({"text": str(number)} for number in range(count)))


def batch(command: Command, *words: str | Path, target: str = HELLO) -> Outcome:
    return command("batch", target, "rows.jsonl", "--results", "results.jsonl", *words)


def records(command: Command) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in (command.folder / "results.jsonl").read_bytes().splitlines()]


def answer(api: ScriptedAPI, **metrics: float) -> None:
    script = Script(output="x", overrides={"metrics": metrics})
    api.models[HELLO] = msgspec.structs.replace(api.models[HELLO], script=script)


def test_the_records_and_the_summary_of_a_batch_include_its_costs(api: ScriptedAPI, command: Command) -> None:
    answer(api, predict_time=2)
    texts(command, 3)
    outcome = batch(command, "--price", "gpu-l40s")
    assert outcome.code == 0
    assert "6 s predict time, about $0.00585, no files" in outcome.err
    assert [(each["cost"], each["currency"], each["cost_source"]) for each in records(command)] == [
        (0.00195, "USD", "user")
    ] * 3
    assert "Cost" in (command.folder / "report.html").read_text()


def test_a_dry_run_estimates_the_cost_from_the_price_table_and_later_from_past_predictions(
    api: ScriptedAPI, command: Command
) -> None:
    write(command, *({"prompt": "a", "num_outputs": number} for number in (1, 2, 4)))
    outcome = batch(command, "--dry-run", target=FLUX)
    cost = outcome.json["cost"]
    assert (cost["estimate"], cost["at_most"], cost["from"]) == (0.021, 0.021, "price")
    assert (cost["price"], cost["cost_source"], cost["currency"]) == ("0.003/image", "table", "USD")
    assert cost["history"] == {"predictions": 0, **dict.fromkeys(("least", "p5", "median", "p95", "most"))}
    answer(api, predict_time=4)
    texts(command, 5)
    words = ["--price", "0.001/second"]
    assert batch(command, *words).code == 0
    texts(command, 15)
    cost = batch(command, *words, "--dry-run").json["cost"]
    assert (cost["estimate"], cost["from"], cost["at_most"]) == (0.04, "history", 18)
    assert cost["history"] == {
        "predictions": 5,
        "least": 0.004,
        "p5": None,
        "median": 0.004,
        "p95": None,
        "most": 0.004,
    }


def test_a_batch_stops_at_the_cost_limit_and_continues_with_a_larger_limit(api: ScriptedAPI, command: Command) -> None:
    answer(api, predict_time=10)
    texts(command, 20)
    words = ["--price", "0.01/run", "--max-cost"]
    outcome = batch(command, *words, "0.05")
    assert (outcome.code, len(api.predictions)) == (5, 5)
    assert "$0.00 of $0.05 are spent; it is not exceeded" in outcome.err
    assert "stopped: $0.05 are spent, and one more costs about $0.01: the limit is $0.05" in outcome.err
    assert "15 still to run: the same command with a larger --max-cost goes on with them" in outcome.err
    outcome = batch(command, *words, "0.02")
    assert "$0.05 of $0.02 are spent: nothing is created before the limit is larger" in outcome.err
    assert "exceeded" not in outcome.err
    assert batch(command, *words, "$1").code == 0
    assert len(api.predictions) == 20


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--max-cost", "5"], "a limit of cost needs a price: the price of replicate/hello-world is not known"),
        (["--max-cost", "5", "--price", "cheap"], "'cheap' is neither a price"),
        (["--max-cost", "5", "--local"], "predictions on this machine cost nothing: to rehearse a cost limit"),
        (["--max-cost", "0"], "'0' is not an amount of USD above 0"),
        (["--max-cost", "nan"], "'nan' is not an amount of USD above 0"),
        (["--max-cost", "five"], "'five' is not an amount of USD above 0"),
    ],
)  # fmt: skip
def test_an_unusable_cost_limit_is_refused_before_anything_is_created(
    api: ScriptedAPI, command: Command, words: list[str], says: str
) -> None:
    texts(command, 2)
    outcome = batch(command, *words)
    assert outcome.code == 2
    assert says in outcome.err
    assert not api.count("create")


def test_an_invalid_price_file_stops_a_batch_before_it_creates_anything(api: ScriptedAPI, command: Command) -> None:
    texts(command, 1)
    place = command.folder / "mine.toml"
    place.write_text('[models]\n"a/b" = 3')
    outcome = command(
        *("batch", HELLO, "rows.jsonl", "--results", "results.jsonl"), env={"REPLICATE_JOB_PRICES": str(place)}
    )
    assert outcome.code == 2
    assert "mine.toml cannot be read: 'a/b' needs a price as text" in outcome.err
    assert not api.count("create")


@pytest.mark.long
@pytest.mark.parametrize("price", ["0.01/run", "0.001/second"])
@pytest.mark.replicate_api(list_lag=1, faults="create:drop-after=0.1,get:503=0.02")
def test_a_batch_of_64_concurrent_rows_that_is_killed_never_costs_more_than_announced(
    api: ScriptedAPI, command: Command, price: str
) -> None:
    seed = random.randrange(2**32)  # noqa: S311 - another each time, and repeatable by what it tells
    chance = random.Random(seed)  # noqa: S311 - as above
    times = [chance.choice([5, 10, 15, 40]) for _ in range(600)]

    def script(given: dict[str, Any]) -> Script:
        metrics = {"predict_time": times[int(given["text"]) if given["text"].isdigit() else 0]}  # of the example
        return Script(duration=0.3, output="x", overrides={"metrics": metrics})

    api.models[HELLO] = msgspec.structs.replace(api.models[HELLO], script=script)
    texts(command, 600)
    words = ["batch", HELLO, "rows.jsonl", "--results", "results.jsonl", "--rate", "none", "--concurrency", "64"]
    words += ["--price", price, "--cancel-after", "40s", "--max-cost", "3"]
    for goal in (1, 20, 70, 120, 180):
        process = command.start(*words)
        while api.created < goal and not process.ends_within(0.01):
            pass
        process.ends_within(chance.uniform(0, 0.3))
        process.kill()
    before = api.created
    outcome = command(*words)
    by_run = Decimal("0.01") * api.created
    by_time = sum((Decimal(times[int(each.input["text"])]) for each in api.predictions), Decimal(0)) / 1000
    spent = by_run if price == "0.01/run" else by_time
    said = re.search(r"exceeded by \$([\d.]+) at most", outcome.err)
    most = 3 + (Decimal(said[1]) if said else 0)
    story = f"seed {seed}: {spent} spent of {most}, {api.created} created\n{outcome.err}"
    # The last process announces nothing if it finds the limit reached, and creates nothing.
    assert said or price == "0.01/run" or api.created == before, story
    assert spent <= most, story
    assert spent > Decimal("2.5"), story
    assert outcome.code == 5, story
    assert "stopped: " in outcome.err, story
    ids = {record["prediction_id"] for record in records(command) if record["prediction_id"]}
    assert ids == {prediction.id for prediction in api.predictions}, story


def test_the_option_cost_of_list_shows_the_cost_of_jobs_and_batches_and_models(
    api: ScriptedAPI, command: Command
) -> None:
    answer(api, predict_time=10)
    prices = command.folder / "prices.toml"
    prices.write_text(f'[models]\n"{HELLO}" = "0.001/second"\n')
    texts(command, 3)
    assert command("list", "--cost").err == "no predictions\n"
    assert batch(command).code == 0
    assert command("run", HELLO, "text=a").code == 0
    assert command("run", "stability-ai/sdxl", "prompt=a", "--no-save").code == 0
    known = {"REPLICATE_JOB_PRICES": str(prices)}
    outcome = command("list", "--cost", env=known)
    assert len(outcome.out.splitlines()) == 4
    assert "5 predictions: " in outcome.err
    assert "about $0.04 for 4 of them: add missing prices to " in outcome.err
    found = command("list", "--cost", "--by", "model", "--since", "1d", "--json", env=known).json
    assert [(each["model"], each["predictions"], each["cost"], each["unknown"]) for each in found] == [
        (HELLO, 4, 0.04, 0),
        ("stability-ai/sdxl", 1, None, 1),
    ]
    assert command("list", "--by", "model").code == 2
    assert command("list", "--cost", "--remote").code == 2


def test_runs_on_this_machine_are_not_listed_with_costs(api: ScriptedAPI, command: Command) -> None:
    assert command("run", HELLO, "text=a").code == 0
    assert len(api.predictions) == len(command("list", "--cost", "--json").json) == 1
    with closing(sqlite3.connect(command.journal)) as database, database:
        database.execute("UPDATE jobs SET api = 'local'")
    assert command("list", "--cost", "--json").json == []
    assert command("list", "--cost").err == "no predictions, but for 1 that ran on this machine\n"
    assert command("run", HELLO, "text=b").code == 0
    assert command("list", "--cost").err.endswith("; 1 that ran on this machine is left out\n")


def test_a_batch_stopped_by_a_time_limit_suggests_a_larger_one(api: ScriptedAPI, command: Command) -> None:
    answer(api, predict_time=10)
    texts(command, 4)
    outcome = batch(command, "--max-predict-time", "15s", "--concurrency", "1")
    assert outcome.code == 5
    assert "2 still to run: the same command with a larger --max-predict-time goes on with them" in outcome.err


def test_several_models_of_a_batch_have_their_own_prices_and_share_one_cost_limit(
    api: ScriptedAPI, command: Command
) -> None:
    answer(api, predict_time=1)
    api.models["acme/second"] = msgspec.structs.replace(api.models[HELLO], name="acme/second")
    texts(command, 10)
    words = ["--models", "acme/second", "--max-cost", "0.1", "--concurrency", "1", "--price", f"{HELLO}=0.01/run"]
    outcome = batch(command, *words)
    assert outcome.code == 2
    assert "the price of acme/second is not known: give --price acme/second=PRICE" in outcome.err
    assert api.created == 0
    outcome = batch(command, *words, "--price", "acme/second=0.03/run")
    assert outcome.code == 5
    assert "$0.09 are spent, and one more costs about $0.03: the limit is $0.10" in outcome.err
    assert {record["cost"] for record in records(command)} == {0.01, 0.03}
    estimates = batch(command, *words, "--price", "acme/second=0.03/run", "--dry-run").json["cost"]
    assert {name: cost["price"] for name, cost in estimates.items()} == {
        HELLO: "0.01/prediction",
        "acme/second": "0.03/prediction",
    }
    outcome = batch(command, "--price", "0.01/run", "--price", "0.02/run")
    assert outcome.code == 2
    assert "--price: the model has two prices: give one" in outcome.err


def test_the_cost_list_uses_the_price_of_a_deployments_hardware(api: ScriptedAPI, command: Command) -> None:
    script = Script(output="x", overrides={"metrics": {"predict_time": 30}})
    api.models[FLUX] = msgspec.structs.replace(api.models[FLUX], script=script)
    assert command("run", "deployments/acme/flux", "prompt=a", "--no-save").code == 0
    write(command, {"prompt": "b"})
    assert batch(command, "--no-save", target="deployments/acme/flux").code == 0
    assert records(command)[0]["cost"] == 0.003
    before = len(api.requests)
    costs = command("list", "--cost", "--json").json
    assert [(spent["model"], spent["cost"], spent["unknown"]) for spent in costs] == [
        ("deployments/acme/flux", 0.003, 0)
    ] * 2
    assert len(api.requests) == before
