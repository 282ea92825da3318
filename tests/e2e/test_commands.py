"""The commands around ``run``: wait, show, cancel, resume, list, schema, check."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedModel

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

HELLO = "replicate/hello-world"
FLUX = "black-forest-labs/flux-schnell"
PICTURE = OutputFile(content=b"RIFF0000WEBP", name="a.webp")
ENDLESS = Script(boot=0, duration=math.inf, output="done")
PAINTING = Script(boot=0, duration=math.inf, output=[PICTURE])
FAILING = Script(boot=0, duration=math.inf, end="failed", error="no memory")


def created(api: ScriptedAPI, command: Command, *words: str, script: Script = ENDLESS) -> str:
    """The id of a prediction that runs until ``finish``."""
    api.next(script)
    prediction_id: str = command("run", *(words or (HELLO, "text=x")), "--no-wait").response["prediction_id"]
    return prediction_id


def test_wait_brings_a_prediction_to_its_end_and_keeps_its_outputs(api: ScriptedAPI, command: Command) -> None:
    name = created(api, command, FLUX, "prompt=x", script=PAINTING)
    process = command.start("wait", name)
    api.wait_until(lambda: api.count("get"))
    api.predictions[0].finish()
    outcome = process.end()
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.response["files"] == [f"outputs/{name}/output-0.webp"]
    assert command("list", "--json").json[0]["state"] == "collected"


def test_wait_takes_over_a_prediction_that_another_program_created(api: ScriptedAPI, command: Command) -> None:
    name = created(api, command, FLUX, "prompt=x", "--journal", "elsewhere.db", script=PAINTING)
    api.predictions[0].finish()
    outcome = command("wait", name, "--save", "kept")
    assert outcome.response["files"] == [f"kept/{name}/output-0.webp"]
    assert command("list", "--json").json[0]["prediction_id"] == name
    assert command("resume").error == "no unfinished jobs"


def test_wait_has_the_time_limits_and_exit_codes_of_run(api: ScriptedAPI, command: Command) -> None:
    name = created(api, command, script=FAILING)
    outcome = command("wait", name, "--poll-interval", "0.1", "--max-poll-attempts", "2")
    assert outcome.code == 5
    assert "still processing after 0.2 s" in outcome.error
    api.predictions[0].finish()
    outcome = command("wait", name)
    assert outcome.code == 1
    assert outcome.error == f"error: prediction {name} failed: no memory"


@pytest.mark.parametrize(
    ("options", "folder"), [([], "mine"), (["--save", "elsewhere"], "elsewhere"), (["--no-save"], None)]
)
def test_wait_saves_outputs_in_the_folder_that_it_is_given_or_else_in_that_of_the_job(
    api: ScriptedAPI, command: Command, options: list[str], folder: str | None
) -> None:
    name = created(api, command, FLUX, "prompt=x", "--save", "mine", script=PAINTING)
    api.predictions[0].finish()
    response = command("wait", name, *options).response
    assert response.get("files", []) == ([f"{folder}/{name}/output-0.webp"] if folder else [])
    kept = {place for place in ("mine", "elsewhere", "outputs") if (command.folder / place).exists()}
    assert kept == ({folder} if folder else set())


def test_wait_saves_no_outputs_of_a_job_that_was_created_with_no_save(api: ScriptedAPI, command: Command) -> None:
    name = created(api, command, FLUX, "prompt=x", "--no-save", script=PAINTING)
    api.predictions[0].finish()
    assert "files" not in command("wait", name).response
    assert not (command.folder / "outputs").exists()


@pytest.mark.parametrize("verb", ["wait", "show", "cancel"])
@pytest.mark.parametrize("name", ["abc", "../../account", "a b?c#d"])
def test_an_invalid_id_is_a_usage_error(api: ScriptedAPI, command: Command, verb: str, name: str) -> None:
    outcome = command(verb, name)
    assert outcome.code == 2
    known = "`replicate-job list` has those of this machine"
    assert outcome.error == f"error: no prediction {name} at {api.base_url}/v1: {known}"
    assert outcome.out == b""


def test_show_prints_the_current_status_and_changes_nothing(api: ScriptedAPI, command: Command) -> None:
    name = created(api, command)
    outcome = command("show", name)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.response["status"] == "processing"
    assert outcome.response["completed_at"] is None


def test_show_prints_deleted_data_from_the_journal(command: Command) -> None:
    with ScriptedAPI(expire=0.3, script=Script(output=[PICTURE])) as expiring:
        command.environment |= expiring.environment
        whole = command("run", FLUX, "prompt=x").response
        expiring.wait_until(lambda: expiring.predictions[0].snapshot()["data_removed"])
        assert command("show", whole["prediction_id"]).response == whole


def test_cancel_ends_a_prediction(api: ScriptedAPI, command: Command) -> None:
    name = created(api, command)
    outcome = command("cancel", name)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.response["status"] == "canceled"
    assert api.predictions[0].status == "canceled"


def test_cancel_says_that_a_prediction_has_ended_already(command: Command) -> None:
    name = command("run", HELLO, "text=x").response["prediction_id"]
    outcome = command("cancel", name)
    assert outcome.code == 0
    assert outcome.error == f"prediction {name} is succeeded"
    assert outcome.response["status"] == "succeeded"


def test_cancel_finishes_the_job_in_the_journal(api: ScriptedAPI, command: Command) -> None:
    name = created(api, command)
    command("cancel", name)
    assert command("list", "--json").json[0]["status"] == "canceled"
    assert command("resume").error == "no unfinished jobs"


def test_resume_finishes_several_jobs_and_exits_with_the_worst_code(api: ScriptedAPI, command: Command) -> None:
    good, bad = created(api, command), created(api, command, script=FAILING)
    for prediction in api.predictions:
        prediction.finish()
    outcome = command("resume")
    assert outcome.code == 1
    printed = outcome.out.splitlines()
    assert len(printed) == 2
    assert {good.encode() in line for line in printed} == {True, False}
    assert outcome.err.splitlines() == [
        f"error: prediction {bad} failed: no memory",
        "1 of 2 unfinished jobs succeeded",
    ]
    again = command("resume")
    assert (again.code, again.out, again.error) == (0, b"", "no unfinished jobs")


def test_resume_continues_with_the_other_jobs_after_a_job_that_cannot_be_finished(
    api: ScriptedAPI, command: Command
) -> None:
    stuck = created(api, command, FLUX, "prompt=x", "--save", "blocked", "--key", "stuck", script=PAINTING)
    good = created(api, command)
    (command.folder / "blocked").touch()
    for prediction in api.predictions:
        prediction.finish()
    outcome = command("resume")
    assert outcome.code == 3
    assert {stuck.encode() in line for line in outcome.out.splitlines()} == {True, False}
    assert good.encode() in outcome.out
    problem, summary = outcome.err.splitlines()
    assert problem.startswith("stuck: error: the folder ")
    assert summary == "1 of 2 unfinished jobs succeeded"


@pytest.mark.parametrize("fault", ["503", ""], ids=["that cannot be read", "without the prediction"])
def test_show_says_that_a_job_whose_create_request_has_no_answer_may_have_a_prediction(
    api: ScriptedAPI, command: Command, fault: str
) -> None:
    api.faults.next("create", "hang-after")
    process = command.start("run", HELLO, "text=x", "--key", "order-17", "--quiet")
    api.wait_until(lambda: api.predictions)
    process.kill()
    shown = command("show", "order-17")
    assert (shown.code, shown.json["prediction_id"]) == (0, api.predictions[0].id)
    if fault:
        api.faults.next("list", *[fault] * 20)
    else:
        api.predictions[0].listed = math.inf
    outcome = command("show", "order-17")
    assert (outcome.code, len(api.predictions)) == (3, 1)
    assert outcome.error == (
        "error: the job 'order-17' may have a prediction: its create request may have been sent, and has no answer; "
        "`replicate-job resume`, or the same key, finds out, and pays once"
    )


def test_the_options_of_resume_limit_the_time_that_it_waits(api: ScriptedAPI, command: Command) -> None:
    name = created(api, command, HELLO, "text=x", "--poll-interval", "0.1", "--max-poll-attempts", "1")
    outcome = command("resume", "--max-poll-attempts", "3")
    assert outcome.code == 5
    told, summary = outcome.err.splitlines()
    assert told.startswith(f"prediction {name} is still processing after 0.3 s and is left running: ")
    assert summary == "0 of 1 unfinished jobs succeeded"
    process = command.start("resume", "--max-poll-attempts", "1000")
    asked = api.count("get")
    api.wait_until(lambda: api.count("get") > asked + 2)
    api.predictions[0].finish()
    assert process.end().code == 0


def test_quiet_commands_print_only_errors(command: Command) -> None:
    name = command("run", HELLO, "text=x").response["prediction_id"]
    for words in (["resume"], ["list"], ["cancel", name]):
        assert command(*words, "-q").err == ""


def test_list_shows_the_newest_first_with_totals(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(output="x"), Script(end="failed"), Script(output=[PICTURE, PICTURE]))
    first = command("run", HELLO, "text=x").response["prediction_id"]
    second = command("run", HELLO, "text=y").response["prediction_id"]
    third = command("run", FLUX, "prompt=x").response["prediction_id"]
    outcome = command("list")
    heading, *lines = outcome.out.decode().splitlines()
    assert heading.split() == ["TIME", "PREDICTION", "MODEL", "STATUS", "PREDICT", "FILES"]
    assert [line.split()[2:5] for line in lines] == [
        [third, FLUX, "succeeded"],
        [second, HELLO, "failed"],
        [first, HELLO, "succeeded"],
    ]
    assert lines[0].endswith(f"outputs/{third}/output-0.webp +1")
    assert outcome.error.startswith("3 jobs: 2 succeeded, 1 failed; 0.")
    assert outcome.error.endswith("s predict time, 2 files")
    newest = command("list", "--limit", "1")
    assert len(newest.out.splitlines()) == 2


def test_limit_of_list_applies_to_batches_too(command: Command) -> None:
    for name in ("a", "b"):
        (command.folder / f"{name}.jsonl").write_text('{"text": "x"}\n')
        command("batch", HELLO, f"{name}.jsonl", "--results", f"{name}.out", "--no-report")
    assert command("list").err.count("batch of ") == 2
    (newest,) = (line for line in command("list", "--limit", "1").err.splitlines() if line.startswith("batch of "))
    assert newest.endswith("/b.jsonl")


def test_with_json_list_prints_an_array_of_objects(api: ScriptedAPI, command: Command) -> None:
    response = command("run", FLUX, "prompt=x", "--key", "k").response
    (job,) = command("list", "--json").json
    assert list(job) == [
        "key", "time", "prediction_id", "model", "status", "state", "predict_time", "files", "problem", "api",
    ]  # fmt: skip
    assert job["key"] == "k"
    assert job["model"] == FLUX
    assert job["predict_time"] == response["metrics"]["predict_time"]
    assert [name.removeprefix(f"{command.folder}/") for name in job["files"]] == response["files"]
    assert job["api"] == f"{api.base_url}/v1"


def test_a_job_that_could_not_be_created_is_listed_with_its_problem(command: Command) -> None:
    command("run", HELLO, "txt=x", "--key", "k")
    (job,) = command("list", "--json").json
    assert job["status"] == "refused"
    assert "did you mean text?" in job["problem"]


def test_a_job_without_a_key_is_not_listed_if_nothing_was_sent(command: Command, api: ScriptedAPI) -> None:
    wrong = command("run", HELLO, "txt=x")
    assert (wrong.code, api.count("create")) == (2, 0)
    assert command("list", "--json").json == []


def test_list_says_that_the_journal_is_empty(command: Command) -> None:
    outcome = command("list")
    assert (outcome.code, outcome.out, outcome.error) == (0, b"", "no jobs yet")
    assert command("list", "--json").json == []


def test_list_of_a_journal_that_has_only_a_batch_names_the_batch(command: Command) -> None:
    (command.folder / "rows.jsonl").write_text('{"text": "a"}\n')
    command("batch", HELLO, "rows.jsonl", "--results", "results.jsonl", "--no-report")
    listed = command("list")
    first, second = listed.err.splitlines()
    assert (listed.code, listed.out, first) == (0, b"", "no jobs outside of batches")
    assert second.startswith("batch of ")


def test_list_needs_no_token_and_no_network(command: Command) -> None:
    assert command("list", env={"REPLICATE_API_TOKEN": "", "REPLICATE_BASE_URL": "http://127.0.0.1:1"}).code == 0


def test_schema_lists_inputs_in_the_order_of_the_model(command: Command) -> None:
    outcome = command("schema", FLUX)
    lines = outcome.out.decode().splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    assert lines[:2] == ["prompt: string, required", "    Prompt for generated image"]
    assert 'output_format: webp | jpg | png, default "webp"' in lines
    assert "num_outputs: integer 1..4, default 1" in lines
    assert lines[-1] == "-> list of file"


def test_with_json_schema_prints_the_openapi_document_of_the_model_unchanged(
    api: ScriptedAPI, command: Command
) -> None:
    document = api.models[FLUX].schema
    assert document
    assert command("schema", FLUX, "--json").json == document["components"]["schemas"]


def test_schema_says_that_a_model_has_no_schema(api: ScriptedAPI, command: Command) -> None:
    api.models["acme/secret"] = ScriptedModel(name="acme/secret", official=True)
    outcome = command("schema", "acme/secret")
    assert outcome.code == 2
    assert outcome.error == "error: the API shows no schema for acme/secret"


def test_check_reports_token_network_account_and_journal(api: ScriptedAPI, command: Command) -> None:
    outcome = command("check")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["token", "network", "account", "journal"]
    assert f"{api.base_url}/v1 answers in" in lines[1]
    assert lines[2] == "account  acme (organization)"
    assert str(command.journal) in lines[3]


@pytest.mark.parametrize(
    ("environment", "code", "said"),
    [
        ({"REPLICATE_API_TOKEN": "r8_wrong"}, 3, "401"),
        ({"REPLICATE_API_TOKEN": "two words"}, 2, "REPLICATE_API_TOKEN holds characters that no token has"),
        ({"REPLICATE_BASE_URL": "api.replicate.com"}, 2, "REPLICATE_BASE_URL is 'api.replicate.com': it must be like"),
        ({"REPLICATE_BASE_URL": "http://u:p@127.0.0.1:1"}, 2, "put the token in REPLICATE_API_TOKEN"),
        ({"REPLICATE_BASE_URL": "http://127.0.0.1:port"}, 2, "REPLICATE_BASE_URL is"),
    ],
)
def test_check_names_the_first_problem_that_it_finds(
    command: Command, environment: dict[str, str], code: int, said: str
) -> None:
    outcome = command("check", env=environment)
    assert outcome.code == code
    assert said in outcome.error
    assert outcome.error.startswith("error: ")
