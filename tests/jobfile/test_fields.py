"""The checks of a job file's names and values, in every format."""

from __future__ import annotations

import pytest

from replicate_job.errors import JobFileError
from replicate_job.job import FUNCTION, Job
from replicate_job.jobfile import fields
from replicate_job.jobfile.fields import to_job
from replicate_job.jobfile.source import Source
from replicate_job.jobfile.xanoscript import read

VERSION = "0123456789abcdef" * 4


def job_of(*lines: str, name: str = FUNCTION) -> Job:
    body = "\n".join(lines)
    source = Source(f'run.job "t" {{\nmain = {{name: "{name}", input: {{\n{body}\n}}}}\n}}', "run.xs")
    return to_job(read(source), source)


def test_every_field_of_a_job_has_a_rule() -> None:
    assert {*fields.RULES, "title", "env"} == set(Job.__struct_fields__)  # a new field must not be forgotten here


def test_names_that_are_left_out_get_the_defaults_of_a_job() -> None:
    assert job_of('model: "a/b"') == Job("a/b", title="t")


def test_every_name_of_a_job_file_becomes_a_field_of_the_job() -> None:
    assert job_of(
        'model: "deployments/a/b"',
        'input_data: {image: "@cat.png"}',
        "wait_for_completion: false",
        "poll_interval: 0.25",
        "max_poll_attempts: 7",
        'cancel_after: "1h30m"',
        'webhook: "https://example.com/hook"',
        'webhook_events_filter: ["start", "completed"]',
        "allow_unknown: true",
    ) == Job(
        "deployments/a/b",
        {"image": "@cat.png"},
        wait_for_completion=False,
        poll_interval=0.25,
        max_poll_attempts=7,
        cancel_after="1h30m",
        webhook="https://example.com/hook",
        webhook_events_filter=("start", "completed"),
        allow_unknown=True,
        title="t",
    )


@pytest.mark.parametrize("model", ["stability-ai/sdxl", f"a/b:{VERSION}", VERSION, "deployments/acme/fast"])
def test_a_model_a_version_and_a_deployment_are_valid_targets(model: str) -> None:
    assert job_of(f'model: "{model}"').model == model


def test_null_is_read_as_none_for_fields_whose_default_is_none() -> None:
    nulls = [f"{name}: null" for name in ("poll_interval", "max_poll_attempts", "cancel_after", "webhook")]
    assert job_of('model: "a/b"', *nulls) == Job("a/b", title="t")


@pytest.mark.parametrize("text", ["30", "5s", "5m", "24h", "1h30m45s", "90m"])
def test_durations_of_the_api_are_valid(text: str) -> None:
    assert job_of('model: "a/b"', f'cancel_after: "{text}"').cancel_after == text


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("pol_interval: 1", 'unknown name "pol_interval"', "did you mean poll_interval?"),
        ("wait: true", 'unknown name "wait"', "inputs of the model itself belong in input_data"),
        ('prompt: "x"', 'unknown name "prompt"', "inputs of the model itself belong in input_data"),
        ('title: "x"', 'unknown name "title"', "inputs of the model itself belong in input_data"),
        (
            'poll_interval: "1"',
            'poll_interval must be a number of seconds above 0, found "1"',
            "write it without quotes",
        ),
        ('poll_interval: "often"', 'poll_interval must be a number of seconds above 0, found "often"', ""),
        ("poll_interval: 0", "poll_interval must be a number of seconds above 0, found 0", ""),
        ("poll_interval: -0.5", "poll_interval must be a number of seconds above 0, found -0.5", ""),
        ("poll_interval: true", "poll_interval must be a number of seconds above 0, found true", ""),
        (
            "poll_interval: 1" + "0" * 400,
            "poll_interval must be a number of seconds above 0, found a number of more than 40 digits",
            "",
        ),
        ("max_poll_attempts: 0", "max_poll_attempts must be a whole number, at least 1, found 0", ""),
        ("max_poll_attempts: 2.0", "max_poll_attempts must be a whole number, at least 1, found 2.0", ""),
        ("max_poll_attempts: true", "max_poll_attempts must be a whole number, at least 1, found true", ""),
        (
            'wait_for_completion: "false"',
            'wait_for_completion must be true or false, found "false"',
            "write it without quotes",
        ),
        ("wait_for_completion: 1", "wait_for_completion must be true or false, found 1", ""),
        ("allow_unknown: []", "allow_unknown must be true or false, found an array", ""),
        ('input_data: "a cat"', 'input_data must be an object, found "a cat"', ""),
        ("input_data: null", "input_data must be an object, found null", ""),
        (
            "cancel_after: 30",
            'cancel_after must be a string such as "30", "5m" or "1h30m" (5 s to 24 h), found 30',
            'write "30"',
        ),
        (
            'cancel_after: ""',
            'cancel_after must be a string such as "30", "5m" or "1h30m" (5 s to 24 h), found ""',
            "",
        ),
        (
            'cancel_after: "5 min"',
            'cancel_after must be a string such as "30", "5m" or "1h30m" (5 s to 24 h), found "5 min"',
            "",
        ),
        ('webhook: "example.com"', 'webhook must be an http or https URL, found "example.com"', ""),
        (
            'webhook_events_filter: ["start", "complete"]',
            'webhook_events_filter must be an array of start, output, logs, completed, found "complete" in it',
            "did you mean completed?",
        ),
        (
            "webhook_events_filter: [{}]",
            "webhook_events_filter must be an array of start, output, logs, completed, found an object in it",
            "",
        ),
        (
            'webhook_events_filter: "start"',
            'webhook_events_filter must be an array of start, output, logs, completed, found "start"',
            "",
        ),
    ],
)
def test_a_wrong_name_or_value_is_an_error_at_its_key(line: str, message: str, hint: str) -> None:
    with pytest.raises(JobFileError) as caught:
        job_of('model: "a/b"', f"  {line}")
    error = caught.value
    assert (error.file, error.line, error.column, error.message, error.hint) == ("run.xs", 4, 3, message, hint)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("model: null", "model must be a non-empty string, found null"),
        ('model: " "', 'model must be a non-empty string, found " "'),
        ('model: "sdxl"', "model: 'sdxl' names no model: write owner/name, "),
        ('model: "a/b:v1"', "model: 'a/b:v1' names no model: write owner/name, "),
    ],
)
def test_an_invalid_model_name_is_an_error_at_its_key(line: str, message: str) -> None:
    with pytest.raises(JobFileError) as caught:
        job_of(line)
    assert (caught.value.line, caught.value.column) == (3, 1)
    assert caught.value.message.startswith(message)


def test_a_missing_model_is_an_error_at_the_input() -> None:
    with pytest.raises(JobFileError) as caught:
        job_of("input_data: {}")
    assert str(caught.value) == "run.xs:2:43: model is missing (model names what to run, as owner/name)"


def test_the_error_of_another_function_names_it_and_the_supported_one() -> None:
    with pytest.raises(JobFileError) as caught:
        job_of("anything: 1", name="send_mail")
    message = 'this file runs the function "send_mail", and this tool runs replicate_run_prediction'
    assert str(caught.value) == f"run.xs:2:9: {message}"
