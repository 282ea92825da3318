"""TOML and JSON job files: the names of a run.job, on one level."""

from __future__ import annotations

import json

import pytest

from replicate_job.errors import JobFileError
from replicate_job.job import Job
from replicate_job.jobfile.fields import to_job
from replicate_job.jobfile.flat import parse, to_run_job
from replicate_job.jobfile.source import Source


def from_toml(text: str) -> Job:
    return from_text(text, "job.toml")


def from_json(text: str) -> Job:
    return from_text(text, "job.json")


def from_text(text: str, file: str) -> Job:
    source = Source(text, file)
    return to_job(to_run_job(parse(source), source), source)


def toml_refusal(text: str) -> str:
    with pytest.raises(JobFileError) as caught:
        from_toml(text)
    return str(caught.value)


def json_refusal(text: str) -> str:
    with pytest.raises(JobFileError) as caught:
        from_json(text)
    return str(caught.value)


EXPECTED = Job(
    "a/b",
    {"prompt": "x", "steps": 4, "scale": 7.0, "sizes": [1, {"w": None}]},
    wait_for_completion=False,
    poll_interval=0.5,
    max_poll_attempts=9,
    cancel_after="5m",
    webhook="https://example.com/",
    webhook_events_filter=("completed",),
    allow_unknown=True,
    title="Mine",
    env=("A", "B"),
    destination="acme/fox",
)


def test_json_holds_every_name_at_the_top_level() -> None:
    text = json.dumps({name: getattr(EXPECTED, name) for name in Job.__struct_fields__})
    assert repr(from_json(text)) == repr(EXPECTED)
    assert repr(from_json("\ufeff" + text.replace(",", ",\r\n"))) == repr(EXPECTED)


def test_toml_holds_every_name_at_the_top_level() -> None:
    assert from_toml(
        '\ufefftitle = "Mine"\r\nenv = ["A", "B"]\r\ndescription = "ignored"\r\n'
        'function = "replicate_run_prediction"\r\n'
        'model = "a/b"\nwait_for_completion = false\npoll_interval = 0.5\nmax_poll_attempts = 9\n'
        'cancel_after = "5m"\nwebhook = "https://example.com/"\nwebhook_events_filter = ["completed"]\n'
        'allow_unknown = true\ndestination = "acme/fox"\n[input_data]\nprompt = "x"\nsteps = 4\n'
    ) == Job(
        **{
            **{name: getattr(EXPECTED, name) for name in Job.__struct_fields__},
            "input_data": {"prompt": "x", "steps": 4},
        }
    )


def test_a_file_with_only_a_model_is_a_valid_job() -> None:
    assert from_json('{"model": "a/b"}') == from_toml("model = 'a/b'") == Job("a/b")


def test_dates_and_times_of_toml_become_iso_8601_strings() -> None:
    job = from_toml(
        'model = "a/b"\n[input_data]\nat = 2024-05-01T07:32:00Z\nlocal = 2024-05-01 07:32:00.5\n'
        "days = [2024-05-01]\nclock = 07:32:00\n"
    )
    assert job.input_data == {
        "at": "2024-05-01T07:32:00+00:00",
        "local": "2024-05-01T07:32:00.500000",
        "days": ["2024-05-01"],
        "clock": "07:32:00",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('model = "a/b"\npol_interval = 1', '2:1: unknown name "pol_interval" (did you mean poll_interval?)'),
        ('"model" = "a/b"\n  "wait_for_completion" = 1', "2:3: wait_for_completion must be true or false, found 1"),
        ('model = "a/b"\n[inputs]\nx = 1', '2:2: unknown name "inputs" (did you mean input_data?)'),
        ('model = "a/b"\nmodel = "c/d"\n', "2:14: not valid TOML: cannot overwrite a value"),
        ('model = "a/b\n', "1:13: not valid TOML: illegal character '\\n'"),
        ("x = [1,", "1:8: not valid TOML: invalid value"),
        ('model = "a/b"\n[input_data]\nx = inf', "3:1: input_data.x must be a finite number, found inf"),
        ('model = "a/b"\ninput_data = {x = [nan]}', "2:15: input_data.x[0] must be a finite number, found nan"),
        ('function = "other"', '1:1: this file runs the function "other", and this tool runs replicate_run_prediction'),
        ("title = 2024-05-01\ntitl = 1", '2:1: unknown name "titl" (inputs of the model itself belong in input_data)'),
        ("env = 1", "1:1: env must be an array of names of environment variables, found 1"),
        ('env = ["A", ""]', '1:1: env lists names of environment variables, as non-empty strings, found ""'),
        ("x = " + "1" * 5000, " not usable TOML: a number has too many digits"),
        ("x = " + "[" * 3000, " objects and arrays are nested more than 200 deep"),
        ("title = 'x'", " model is missing (model names what to run, as owner/name)"),
    ],
)
def test_the_error_for_a_mistake_in_toml_names_its_position(text: str, message: str) -> None:
    assert toml_refusal(text) == f"job.toml:{message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: not valid JSON: expecting value"),
        ('{"model": "a/b"} x', "1:18: not valid JSON: extra data"),
        ('{\n  "model" "a/b"\n}', "2:11: not valid JSON: expecting ':' delimiter"),
        ('[{"model": "a/b"}]', "1:1: expected an object with model and input_data"),
        ('{"model": "a/b", "model": "c/d"}', '1:18: found a second "model", expected each key once'),
        (
            '{"model": "a/b", "input_data": {"x": 1, "x": 2, "y": {"x": 3}}}',
            ' found a second "x", expected each key once',
        ),
        (
            '{\n"model": "a/b",\n "poll_interval": "1"}',
            '3:2: poll_interval must be a number of seconds above 0, found "1" (write it without quotes)',
        ),
        ('{"model": "a/b", "input_data": {"x": NaN}}', "1:33: input_data.x must be a finite number, found nan"),
        (
            '{"model": "a/b", "input_data": {"x": [-1e999]}}',
            "1:33: input_data.x[0] must be a finite number, found -inf",
        ),
        (
            '{"model": "a/b", "input_data": {"x": "\\ud83c"}}',
            "1:33: input_data.x must be valid Unicode, found half of a surrogate pair",
        ),
        ('{"title": "t", "input_data": {"title": "u"}, "model": 1}', "1:46: model must be a non-empty string, found 1"),
        ('{"function": ""}', '1:2: function must be a non-empty string, found ""'),
        ('{"description": []}', "1:2: description must be a string, found an array"),
        ('{"x": ' + "1" * 5000 + "}", " not usable JSON: a number has too many digits"),
        ("[" * 100_000, " objects and arrays are nested more than 200 deep"),
    ],
)
def test_the_error_for_a_mistake_in_json_names_its_position(text: str, message: str) -> None:
    assert json_refusal(text) == f"job.json:{message}"


def test_the_error_for_a_name_that_occurs_in_two_objects_has_no_position() -> None:
    text = '{"model": "a/b", "webhook": "x", "input_data": {"webhook": 1}}'
    assert json_refusal(text) == 'job.json: webhook must be an http or https URL, found "x"'


def test_the_error_of_too_deep_nesting_names_the_field_and_is_short() -> None:
    message = json_refusal('{"model": "a/b", "input_data": {"x": ' + "[" * 300 + "]" * 300 + "}}")
    assert message.startswith("job.json:1:33: input_data.x[0][0]")
    assert message.endswith("… is nested more than 200 deep")
    assert len(message) < 140


def test_a_pair_of_surrogates_in_json_is_one_character() -> None:
    assert from_json('{"model": "a/b", "input_data": {"x": "\\ud83c\\udfd4"}}').input_data == {"x": "🏔"}
