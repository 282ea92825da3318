"""``replicate-job run``: what it sends, what it prints, and with which code it ends."""

from __future__ import annotations

import math
import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job import __version__
from replicate_job.testing import OutputFile, Script, ScriptedDeployment, ScriptedModel, Stream, openapi_schema

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

HELLO = "replicate/hello-world"
FLUX = "black-forest-labs/flux-schnell"
LLAMA = "meta/llama-2-70b-chat"
RUN_XS = """\
run.job "Paint" {
  main = {
    name: "replicate_run_prediction"
    input: {
      model: "black-forest-labs/flux-schnell"
      input_data: {
        prompt: "a lake"
        aspect_ratio: "16:9"
      }
      poll_interval: 0.1
      max_poll_attempts: 100
    }
  }
  env = ["REPLICATE_API_TOKEN"]
}
"""


def sent(api: ScriptedAPI) -> Any:
    """The body of the only create request."""
    (prediction,) = api.predictions
    return msgspec.json.decode(prediction.request.body)


def test_the_printed_response_is_one_line_with_ten_fields(api: ScriptedAPI, command: Command) -> None:
    outcome = command("run", HELLO, "text=you")
    (prediction,) = api.predictions
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.response["prediction_id"] == prediction.id
    assert outcome.response["status"] == "succeeded"
    assert outcome.response["model"] == HELLO
    assert outcome.response["input"] == {"text": "you"}
    assert outcome.response["output"] == "hello you"
    assert outcome.response["error"] is None
    assert "files" not in outcome.response


def test_a_job_with_a_blocking_wait_sends_one_model_request_and_one_create_request(
    api: ScriptedAPI, command: Command
) -> None:
    command("run", HELLO, "text=you")
    assert [request.operation for request in api.requests if request.path != "/v1/account"] == ["model", "create"]


def test_output_files_are_saved_beside_their_record_and_named_in_the_response(
    api: ScriptedAPI, command: Command
) -> None:
    response = command("run", FLUX, "prompt=a lake", "num_outputs=2").response
    place = f"outputs/{api.predictions[0].id}"
    assert response["files"] == [f"{place}/output-0.webp", f"{place}/output-1.webp"]
    record = msgspec.json.decode((command.folder / place / "result.json").read_bytes())
    sums = {name: sha256((command.folder / place / name).read_bytes()).hexdigest() for name in record["files"]}
    assert record.pop("logs").splitlines()[-1].strip().startswith("100%")
    assert record == response | {"files": ["output-0.webp", "output-1.webp"], "sha256": sums}


def test_the_original_run_job_file_runs_unchanged(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "run.xs").write_text(RUN_XS)
    outcome = command("run", "run.xs")
    assert outcome.code == 0
    assert sent(api) == {"input": {"prompt": "a lake", "aspect_ratio": "16:9"}}
    assert len(outcome.response["files"]) == 1


def test_a_word_overrides_the_input_file_and_the_input_file_overrides_the_job_file(
    api: ScriptedAPI, command: Command
) -> None:
    (command.folder / "run.xs").write_text(RUN_XS)
    (command.folder / "more.json").write_text('{"prompt": "a sea", "aspect_ratio": "1:1", "seed": 1}')
    assert command("run", "run.xs", "--input", "more.json", "seed=2").code == 0
    assert sent(api)["input"] == {"prompt": "a sea", "aspect_ratio": "1:1", "seed": 2}


def test_words_take_the_types_that_the_schema_gives_them(api: ScriptedAPI, command: Command) -> None:
    command("run", FLUX, "prompt=5", "seed=5", "num_outputs=2", "output_quality=90", "--no-save")
    assert sent(api)["input"] == {"prompt": "5", "seed": 5, "num_outputs": 2, "output_quality": 90}


def test_a_dash_as_the_input_file_means_stdin(api: ScriptedAPI, command: Command) -> None:
    outcome = command("run", HELLO, "--input", "-", typed='{"text": "grüß dich"}'.encode())
    assert outcome.response["output"] == "hello grüß dich"
    assert sent(api)["input"] == {"text": "grüß dich"}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (b'["text"]', "--input -: a JSON object of inputs is needed"),
        (b'{"text": ', "--input -: not JSON"),
        (b"", "--input -: not JSON"),
        (b'{"text": "\xff"}', "--input -: not JSON"),
    ],
)
def test_an_input_that_is_not_a_json_object_is_refused_before_any_request(
    api: ScriptedAPI, command: Command, typed: bytes, said: str
) -> None:
    outcome = command("run", HELLO, "--input", "-", typed=typed)
    assert outcome.code == 2
    assert said in outcome.error
    assert outcome.out == b""
    assert not api.requests


def test_the_error_names_an_input_file_that_is_missing(command: Command) -> None:
    outcome = command("run", HELLO, "--input", "none.json")
    assert outcome.code == 2
    assert outcome.error == "error: --input none.json: No such file or directory"


def test_every_problem_of_an_input_is_in_one_error_and_nothing_is_created(api: ScriptedAPI, command: Command) -> None:
    outcome = command("run", FLUX, "promt=x", "num_outputs=9", "output_format=gif", "seed=many")
    assert outcome.code == 2
    assert outcome.out == b""
    first, *problems = outcome.err.splitlines()
    assert first == f"error: the input does not fit {FLUX}:"
    assert len(problems) == 5
    assert "  promt is not an input of this model, did you mean prompt?" in problems
    assert not api.predictions


def test_with_allow_unknown_inputs_that_the_schema_lacks_are_sent(api: ScriptedAPI, command: Command) -> None:
    assert command("run", HELLO, "text=you", "mood=3").code == 2
    assert command("run", HELLO, "text=you", "mood=3", "--allow-unknown").code == 0
    assert sent(api)["input"] == {"text": "you", "mood": 3}


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("acme/flux-fork:" + "a" * 64, {"version": "a" * 64, "input": {}}),
        ("b" * 64, {"version": "b" * 64, "input": {}}),
        ("acme/flux-fork", {"version": "a" * 64, "input": {}}),
        ("deployments/acme/fork", {"input": {}}),
        ("acme/private", {"input": {}}),
    ],
)
def test_a_job_runs_for_every_kind_of_target(api: ScriptedAPI, command: Command, target: str, body: Any) -> None:
    api.models["acme/flux-fork"] = ScriptedModel(
        name="acme/flux-fork", versions=("a" * 64, "b" * 64), schema=openapi_schema({}), script=Script(output="done")
    )
    api._account.deployments["acme/fork"] = ScriptedDeployment(name="acme/fork", model="acme/flux-fork")  # noqa: SLF001
    assert command("run", target).response["output"] == "done"
    assert sent(api) == body


def test_the_error_of_a_missing_model_says_what_was_tried(command: Command) -> None:
    outcome = command("run", "acme/nothing", "x=1")
    assert outcome.code == 2
    assert outcome.error.startswith("error: acme/nothing was not found (tried GET /models/acme/nothing): check the")


@pytest.mark.parametrize("target", ["flux", "acme/flux/three", "acme/ü", "acme/x:abc", "run.yaml", "none.xs", ""])
def test_an_invalid_target_causes_a_one_line_error(api: ScriptedAPI, command: Command, target: str) -> None:
    outcome = command("run", target)
    assert outcome.code == 2
    assert target in outcome.error
    assert not api.requests


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "flux"], "'flux' names no model: write owner/name"),
        (["run", "run.yaml"], "; a job file ends in .xs, .toml or .json"),
        (["run", "jobs/run.yaml"], "jobs/run.yaml: the name of a job file ends in .xs, .toml or .json"),
        (["run", "none.toml"], "none.toml: cannot read this file"),
        (["run", FLUX, "prompt", "x=1", "=y"], "'prompt' is not KEY=VALUE; '=y' is not KEY=VALUE"),
        (["run", FLUX, "--cancel-after", "soon"], "'soon'"),
        (["schema", "flux"], "'flux' names no model"),
    ],
)
def test_invalid_words_are_reported_before_a_missing_token(command: Command, words: list[str], said: str) -> None:
    (command.folder / "jobs").mkdir()
    (command.folder / "jobs" / "run.yaml").touch()
    outcome = command(*words, env={"REPLICATE_API_TOKEN": "", "REPLICATE_BASE_URL": "https://replicate.invalid"})
    assert outcome.code == 2
    assert said in outcome.error
    assert "REPLICATE_API_TOKEN" not in outcome.error
    assert not command.journal.exists()


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("failed", 1, "error: prediction {id} failed: out of memory"),
        ("canceled", 4, "prediction {id} was canceled"),
        ("aborted", 4, "prediction {id} was aborted"),
    ],
)
def test_each_unsuccessful_status_has_its_own_exit_code(
    api: ScriptedAPI, command: Command, end: str, code: int, said: str
) -> None:
    api.next(Script(end=end, error="out of memory"))
    outcome = command("run", HELLO, "text=x")
    assert outcome.code == code
    assert outcome.error == said.format(id=api.predictions[0].id)
    assert outcome.response["status"] == end


def test_after_the_time_limit_the_prediction_keeps_running_and_a_hint_says_how_to_wait_for_it(
    api: ScriptedAPI, command: Command
) -> None:
    api.next(Script(boot=0, duration=math.inf, output="done"))
    outcome = command("run", HELLO, "text=x", "--poll-interval", "0.1", "--max-poll-attempts", "4")
    (prediction,) = api.predictions
    assert outcome.code == 5
    assert "still processing after 0.4 s" in outcome.error
    assert f"`replicate-job wait {prediction.id}`" in outcome.error
    assert outcome.response["status"] == "processing"
    assert prediction.canceled is None
    prediction.finish()
    assert command("wait", prediction.id).response["output"] == "done"


def test_the_commands_in_hints_name_the_journal_that_was_given(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(duration=math.inf, output="done"))
    budget = ["--poll-interval", "0.1", "--max-poll-attempts", "1"]
    outcome = command("run", HELLO, "text=x", *budget, "--journal", "my jobs.db")
    assert f"`replicate-job wait {api.predictions[0].id} --journal 'my jobs.db'` goes on" in outcome.error


def test_a_job_with_a_complete_output_is_waited_for_while_its_status_is_processing(
    api: ScriptedAPI, command: Command
) -> None:
    api.next(Script(duration=0.6, output_at=0.1, output="hello"))
    response = command("run", HELLO, "text=x").response
    assert response["status"] == "succeeded"
    assert response["completed_at"]


def test_a_prediction_with_an_unknown_status_is_reported_and_waited_for(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(timeline=((0, "queued"), (0.1, "processing")), duration=0.3, output="x"))
    api.faults.next("create", "slow-after(1ms)")  # done without a blocking wait
    outcome = command("run", HELLO, "text=x")
    assert outcome.code == 0
    assert outcome.error == "warning: unknown status 'queued': waiting on"


def test_failed_polls_do_not_fail_the_job(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(duration=0.5, output="x"))
    api.faults.next("create", "slow-after(1ms)")
    api.faults.next("get", "503", "drop", "html", "half", "404")
    outcome = command("run", HELLO, "text=x", "--poll-interval", "0.05", "--max-poll-attempts", "200")
    assert outcome.code == 0
    assert outcome.err == ""


def test_the_option_no_wait_returns_at_once_and_resume_finishes_the_job(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(duration=math.inf, output=[OutputFile(content=b"RIFF0000WEBP", name="a.webp")]))
    outcome = command("run", FLUX, "prompt=x", "--no-wait")
    (prediction,) = api.predictions
    assert outcome.code == 0
    goes_on = f"`replicate-job wait {prediction.id}` waits for it, and keeps its outputs"
    assert outcome.error == f"prediction {prediction.id} is left running: {goes_on}"
    assert outcome.response["status"] in {"starting", "processing"}
    prediction.finish()
    resumed = command("resume")
    assert resumed.code == 0
    assert resumed.response["prediction_id"] == prediction.id
    assert (command.folder / resumed.response["files"][0]).read_bytes() == b"RIFF0000WEBP"
    assert resumed.error == "1 of 1 unfinished jobs succeeded"
    assert len(api.predictions) == 1
    api.next(Script(duration=math.inf))
    assert command("run", FLUX, "prompt=y", "--no-wait", "--quiet").err == ""
    api.next(Script(duration=math.inf))
    assert command("run", FLUX, "prompt=z", "--no-wait", "--no-save").error.endswith("` waits for it")


def test_a_run_with_the_same_key_prints_the_stored_result_without_a_request(api: ScriptedAPI, command: Command) -> None:
    words = ["run", FLUX, "--key", "the lake", "--input", "-"]
    first = command(*words, typed=b'{"prompt": "x"}')
    before = len(api.requests)
    again = command(*words, typed=b'{"prompt": "x"}')
    assert again.response == first.response
    assert again.code == 0
    assert again.err == ""
    assert len(api.requests) == before


def test_a_key_that_belongs_to_another_input_is_refused(api: ScriptedAPI, command: Command) -> None:
    assert command("run", HELLO, "text=one", "--key", "k").code == 0
    outcome = command("run", HELLO, "text=two", "--key", "k")
    assert outcome.code == 2
    assert "the key 'k' belongs to another job" in outcome.error
    assert len(api.predictions) == 1


def test_two_processes_with_the_same_key_create_one_prediction(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(duration=math.inf, output="x"))
    first = command.start("run", HELLO, "text=one", "--key", "k")
    api.wait_until(lambda: api.predictions)
    second = command.start("run", HELLO, "text=one", "--key", "k")
    assert f"the job 'k' is being run by process {first.pid}" in second.line()
    api.predictions[0].finish()
    assert first.end().response == second.end().response
    assert len(api.predictions) == 1


def test_a_dry_run_says_what_would_be_sent_and_creates_nothing(api: ScriptedAPI, command: Command) -> None:
    outcome = command("run", HELLO, "text=x", "--dry-run")
    version = api.models[HELLO].version_ids[0]
    assert outcome.code == 0
    assert outcome.json == {
        "model": f"{HELLO}:{version}",
        "request": "POST /v1/predictions",
        "version": version,
        "input": {"text": "x"},
        "checked": True,
    }
    assert [request.method for request in api.requests] == ["GET"]
    assert command("run", HELLO, "txt=x", "--dry-run").code == 2
    assert command("list", "--json").json == []


def test_the_option_no_save_stores_no_files(api: ScriptedAPI, command: Command) -> None:
    response = command("run", FLUX, "prompt=x", "--no-save").response
    assert "files" not in response
    assert response["output"] == api.predictions[0].output
    assert not (command.folder / "outputs").exists()


@pytest.mark.parametrize("folder", ["new/deep", "with space/und ümlaut", "../beside"])
def test_the_option_save_names_the_output_folder(api: ScriptedAPI, command: Command, folder: str) -> None:
    command.folder = command.folder / "work"
    command.folder.mkdir()
    (file,) = command("run", FLUX, "prompt=x", "--save", folder).response["files"]
    expected = command.folder / folder / api.predictions[0].id / "output-0.webp"
    assert (command.folder / file).samefile(expected)


def test_the_options_cancel_after_and_webhook_are_sent_to_the_api(api: ScriptedAPI, command: Command) -> None:
    command("run", HELLO, "text=x", "--cancel-after", "5m", "--webhook", "https://example.com/hook")
    assert sent(api)["webhook"] == "https://example.com/hook"
    assert api.predictions[0].request.headers["cancel-after"] == "5m"


def test_the_option_cancel_after_ends_a_running_prediction_as_canceled(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(duration=math.inf, deadline=0.2))
    assert command("run", HELLO, "text=x", "--cancel-after", "5s").code == 4


@pytest.mark.parametrize(
    "words",
    [
        ["--poll-interval", "0"],
        ["--poll-interval", "-1"],
        ["--poll-interval", "nan"],
        ["--poll-interval", "inf"],
        ["--max-poll-attempts", "0"],
        ["--cancel-after", "soon"],
        ["--cancel-after", "4s"],
        ["--webhook", "nowhere"],
        ["--nothing"],
        ["text"],
        ["=y"],
        ["text=y"],
    ],
)
def test_invalid_options_are_refused_and_create_nothing(api: ScriptedAPI, command: Command, words: list[str]) -> None:
    outcome = command("run", HELLO, "text=x", *words)
    assert outcome.code == 2
    assert "error: " in outcome.err
    assert not api.predictions


def test_streamed_text_is_printed_unchanged(api: ScriptedAPI, command: Command) -> None:
    outcome = command("run", LLAMA, "prompt=x", "--stream")
    assert outcome.out == b"Once upon a time."
    assert outcome.err == ""
    assert outcome.code == 0
    assert api.count("stream") == 1


def test_a_stream_reaches_stdout_while_the_model_still_writes(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(duration=math.inf, output=["Once", " upon"], stream=Stream()))
    reading, writing = os.pipe()
    process = command.start("run", LLAMA, "prompt=x", "--stream", stdout=writing)
    os.close(writing)
    with open(reading, "rb") as shown:  # noqa: PTH123 - a pipe has no path
        assert shown.read(9) == b"Once upon"
        assert api.predictions[0].status != "succeeded"
        api.predictions[0].finish()
        assert shown.read() == b""
    assert process.end().code == 0


def test_a_model_that_does_not_stream_prints_its_text_at_the_end(command: Command) -> None:
    outcome = command("run", HELLO, "text=you", "--stream")
    assert (outcome.code, outcome.out) == (0, b"hello you")


def test_a_stream_without_text_prints_the_response(command: Command) -> None:
    outcome = command("run", FLUX, "prompt=x", "--stream")
    assert len(outcome.response["files"]) == 1


def test_a_stream_with_output_that_is_not_text_prints_the_response_to_stderr(
    api: ScriptedAPI, command: Command
) -> None:
    api.next(Script(output=["a caption", None, 3, OutputFile(content=b"x", name="a.txt", inline=True)]))
    outcome = command("run", "acme/private", "--stream")
    assert (outcome.code, outcome.out) == (0, b"a caption")
    response = msgspec.json.decode(outcome.error)
    assert response["output"] == api.predictions[0].output
    assert [(command.folder / name).read_bytes() for name in response["files"]] == [b"x"]


def test_a_message_says_that_a_stream_has_no_text(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(output={"label": "cat"}))
    outcome = command("run", "acme/private", "--stream")
    assert outcome.response["output"] == {"label": "cat"}
    assert "holds no text to stream" in outcome.error


def test_a_failed_stream_keeps_its_text_and_its_exit_code(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(end="failed", error="no memory", output=["Once"], stream=Stream()))
    outcome = command("run", LLAMA, "prompt=x", "--stream")
    assert outcome.code == 1
    assert outcome.out == b"Once"
    assert outcome.error.endswith("failed: no memory")


def test_with_verbose_the_status_is_written_and_with_quiet_nothing_is(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(duration=0.3, output="x"))
    api.faults.next("create", "slow-after(1ms)")
    told = command("run", HELLO, "text=x", "-v", "--poll-interval", "0.05", "--max-poll-attempts", "99").err
    name = api.predictions[0].id
    assert told.splitlines() == [
        f"{name} starting",
        f"{name} processing",
        f"{name} succeeded",
    ] or told.splitlines() == [
        f"{name} processing",
        f"{name} succeeded",
    ]
    api.faults.next("create", "drop-after")
    quiet = command("run", HELLO, "text=y", "-q")
    assert quiet.code == 0
    assert quiet.err == ""


def test_an_error_names_the_environment_variable_that_the_job_needs(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "run.xs").write_text(RUN_XS.replace('["REPLICATE_API_TOKEN"]', '["SEASON"]'))
    outcome = command("run", "run.xs")
    assert outcome.code == 2
    assert outcome.error.startswith("error: the environment variable SEASON is not set:")
    assert command("run", "run.xs", env={"SEASON": "spring"}).code == 0
    assert len(api.predictions) == 1


def test_without_a_token_the_error_says_where_to_get_one(command: Command) -> None:
    (command.folder / "run.xs").write_text(RUN_XS)
    for token in ("", "  "):
        outcome = command("run", "run.xs", env={"REPLICATE_API_TOKEN": token})
        assert outcome.code == 2
        assert outcome.error == (
            "error: the environment variable REPLICATE_API_TOKEN is not set: get a token at "
            "https://replicate.com/account/api-tokens, "
            "or run on this machine without one (--local, in Python local=True)"
        )


def test_the_error_for_a_wrong_token_has_the_status_401_and_not_the_token(command: Command) -> None:
    outcome = command("run", HELLO, "text=x", env={"REPLICATE_API_TOKEN": "r8_wrong"})
    assert outcome.code == 3
    assert "401" in outcome.error
    assert "r8_wrong" not in outcome.error


@pytest.mark.parametrize("base", ["", "/v1", "/v1/"])
def test_the_base_url_works_with_and_without_v1(api: ScriptedAPI, command: Command, base: str) -> None:
    outcome = command("run", HELLO, "text=x", env={"REPLICATE_BASE_URL": api.base_url + base})
    assert outcome.code == 0


def test_the_option_journal_names_the_file_of_the_journal(command: Command) -> None:
    place = command.folder / "other place" / "jobs.db"
    command("run", HELLO, "text=x", "--journal", place)
    assert place.exists()
    assert not command.journal.exists()


def test_the_help_and_the_version_are_printed_to_stdout(command: Command) -> None:
    for words in (["--version"], ["run", "--version"]):
        assert command(*words).out.decode() == f"replicate-job, version {__version__}\n"
    for words in (["--help"], ["-h"], ["run", "--help"], ["run", "-h"]):
        outcome = command(*words)
        assert outcome.code == 0
        assert b"Usage: " in outcome.out
        assert outcome.err == ""


def test_without_a_command_the_help_is_shown(command: Command) -> None:
    outcome = command()
    assert outcome.code == 2
    assert "resume" in outcome.err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("shwo", "there is no command 'shwo', did you mean show?"),
        ("RUN", "there is no command 'RUN', did you mean run?"),
        ("zzz", "there is no command 'zzz'; there are run, batch, worker, "),
        (FLUX, f"there is no command '{FLUX}': to run it, write `replicate-job run {FLUX}`"),
        ("run.xs", "there is no command 'run.xs': to run it, write `replicate-job run run.xs`"),
    ],
)
def test_an_unknown_command_gets_a_suggestion(command: Command, word: str, said: str) -> None:
    outcome = command(word, "prompt=x")
    assert outcome.code == 2
    assert f"error: {said}" in outcome.err


def test_an_unknown_option_gets_a_suggestion(command: Command) -> None:
    outcome = command("run", FLUX, "--savee", "x")
    assert outcome.code == 2
    assert "--save" in outcome.err.splitlines()[-1]


def test_the_events_of_a_webhook_are_chosen(api: ScriptedAPI, command: Command) -> None:
    hook = ("--webhook", "https://example.com/hook")
    assert command("run", HELLO, "text=x", *hook, "--webhook-events", "start, completed,start").code == 0
    assert sent(api)["webhook_events_filter"] == ["start", "completed"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--webhook-events", "completed"], "--webhook-events needs --webhook, or a job file with a webhook"),
        (
            ["--webhook", "https://x", "--webhook-events", "end"],
            "'end' is not an event: there are start, output, logs, ",
        ),
        (["--webhook", "https://x", "--webhook-events", ","], "name one or more of start, output, logs, completed"),
    ],
)
def test_invalid_webhook_events_are_refused(api: ScriptedAPI, command: Command, words: list[str], said: str) -> None:
    outcome = command("run", HELLO, "text=x", *words)
    assert outcome.code == 2
    assert said in outcome.err
    assert not api.requests
