"""``--local``: the server starts and ends with its command, and the command's messages account for it."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

HELLO, PAINTER = "replicate/hello-world", "black-forest-labs/flux-schnell"
SHORT = ("--poll-interval", "0.01", "--max-poll-attempts", "1")


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings of uv on this machine, and one cache of models' environments for all tests."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("REPLICATE_", "XDG_"))}
    cache = {"UV_CACHE_DIR": str(Path("~/.cache/uv").expanduser())}
    own = {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")), "REPLICATE_API_TOKEN": ""}
    return {**cache, **ours, **own}


def test_after_the_timeout_of_a_local_run_resume_runs_the_prediction_again(
    command: Command, environment: dict[str, str]
) -> None:
    outcome = command("run", HELLO, "text=you", "--local", *SHORT, env=environment)
    assert outcome.code == 5
    seen = outcome.response
    assert outcome.err.splitlines()[-1] == (
        f"prediction {seen['prediction_id']} is still {seen['status']} after 0.01 s, "
        "and ended with the local server: `replicate-job resume --timeout 10m --local` runs it again, with more time"
    )
    again = command("resume", "--local", env=environment)
    assert again.code == 5
    told, _ = again.err.splitlines()[-2:]
    assert told.endswith(
        "and ended with the local server: `replicate-job resume --timeout 10m --local` runs it again, with more time"
    )
    resumed = command("resume", "--local", "--timeout", "10m", env=environment)
    assert resumed.response["output"] == "hello you"
    assert resumed.code == 0


def test_after_ctrl_c_a_batch_and_the_command_list_give_the_same_number_of_unfinished_rows(
    command: Command, environment: dict[str, str]
) -> None:
    (command.folder / "rows.csv").write_text("prompt\n" + "".join(f"a lake {number}\n" for number in range(40)))
    words = [PAINTER, "rows.csv", "--local", "--no-save", "--results", "r.jsonl", "--no-report"]
    process = command.start("batch", *words, env=environment)
    while not any(row["state"] != "collected" for row in states(command)):
        assert not process.ends_within(0.05)
    process.interrupt()
    outcome = process.end()
    assert outcome.code == 130
    told = re.search(r"(\d+) unfinished, which ended with the local server, (\d+) still to run: `", outcome.err)
    assert told, outcome.err
    over = sum(row["state"] == "collected" for row in states(command))
    assert int(told[1]) + int(told[2]) + over == 40
    assert f", {told[1]} unfinished\n" in command("list", env=environment).err


def states(command: Command) -> list[dict[str, Any]]:
    try:
        return command.rows("state")
    except sqlite3.OperationalError:  # its tables are not there yet
        return []


@pytest.mark.parametrize("words", [["--no-wait"], []])
def test_the_options_local_and_no_wait_together_are_a_usage_error(command: Command, words: list[str]) -> None:
    waits = "true" if words else "false"
    (command.folder / "job.toml").write_text(f'model = "{HELLO}"\nwait_for_completion = {waits}\n')
    outcome = command("run", "job.toml", "--local", *words)
    usage, error = outcome.err.splitlines()
    assert outcome.code == 2
    assert usage.startswith("Usage: ")
    assert error == "error: a local run ends with its command: --local needs --wait"
    assert not command.journal.exists()


def test_the_original_run_job_paints_a_picture_of_its_aspect_ratio(
    command: Command, environment: dict[str, str]
) -> None:
    seed = Path(__file__).parents[2] / "run.xs"
    outcome = command("run", str(seed), "--local", env=environment)
    assert outcome.response["status"] == "succeeded"
    assert outcome.code == 0
    told = outcome.err.splitlines()
    (warning,) = [line for line in told if line.startswith("warning: ")]
    assert warning.startswith("warning: black-forest-labs/flux-schnell is a stand-in, not FLUX")
    prepared = [line for line in told if line != warning]  # none where another test has prepared it already
    assert all(line.startswith("preparing black-forest-labs/flux-schnell (once: ") for line in prepared)
    with Image.open(command.folder / outcome.response["files"][0]) as picture:
        assert (picture.format, picture.size) == ("WEBP", (1344, 768))


def test_the_error_for_a_job_that_only_ran_locally_says_that_it_ran_on_this_machine(
    command: Command, environment: dict[str, str]
) -> None:
    command("run", HELLO, "text=you", "--local", "--key", "k", env=environment)
    for name in ("show", "wait", "cancel"):
        outcome = command(name, "k")
        told = "the job of that key ran on this machine, without Replicate: `replicate-job show k --local` shows it"
        assert (outcome.code, told in outcome.error) == (2, True), outcome
    assert command("show", "k", "--local", env=environment).response["output"] == "hello you"


def test_a_dry_run_needs_only_the_schema_and_prepares_no_environment(
    command: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    model = "meta/meta-llama-3-8b-instruct"
    (command.folder / "rows.jsonl").write_text('{"prompt": "a"}\n')
    (command.folder / "chain.toml").write_text(
        f'[[step]]\nname = "one"\nmodel = "{model}"\ninput = {{ prompt = "{{prompt}}" }}\n'
    )
    calls = [
        ["run", model, "prompt=a"],
        ["run", "chain.toml", "prompt=a"],
        ["batch", model, "rows.jsonl", "--results", "results.jsonl"],
    ]
    for words in calls:
        outcome = command(*words, "--local", "--dry-run", env={**environment, "XDG_CACHE_HOME": str(tmp_path / "new")})
        assert (outcome.code, "preparing" in outcome.err) == (0, False), outcome.err
    assert not list((tmp_path / "new").rglob("pyvenv.cfg"))


@pytest.mark.parametrize("more", [[], ["-v"]])
def test_a_batch_with_finished_and_new_rows_reports_its_stand_in_model_once(
    command: Command, environment: dict[str, str], more: list[str]
) -> None:
    words = ("batch", "black-forest-labs/flux-schnell", "rows.jsonl", "--results", "results.jsonl", "--local", *more)
    for rows in ('{"prompt": "a lake"}\n', '{"prompt": "a lake"}\n{"prompt": "a car"}\n'):
        (command.folder / "rows.jsonl").write_text(rows)
        outcome = command(*words, env=environment)
        assert outcome.code == 0
        assert outcome.err.count("flux-schnell is a stand-in, not FLUX") == 1


def test_the_error_for_a_missing_model_suggests_another(command: Command, environment: dict[str, str]) -> None:
    outcome = command("run", "replicate/hello-wrld", "text=x", "--local", env=environment)
    assert outcome.code == 2
    assert ": did you mean replicate/hello-world? On this machine there are " in outcome.error
    assert outcome.error.endswith("; all others run on Replicate, without --local (in Python local=True)")
    stranger = command("run", "zzz/qqq", "text=x", "--local", env=environment)
    assert "): On this machine there are " in stranger.error
    assert stranger.error.endswith("; all others run on Replicate, without --local (in Python local=True)")


def test_stderr_says_that_a_prompt_that_cannot_be_painted_became_a_card(
    command: Command, environment: dict[str, str]
) -> None:
    outcome = command(
        "run", "black-forest-labs/flux-schnell", "prompt=a red car by a lake", "aspect_ratio=9:16", "--local",
        env=environment,
    )  # fmt: skip
    assert outcome.code == 0
    assert "Stand-in: a card: it can't paint red, car\n" in outcome.err
    with Image.open(command.folder / outcome.response["files"][0]) as picture:
        assert picture.size == (768, 1344)
