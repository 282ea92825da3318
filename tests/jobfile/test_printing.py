"""Writing a job as run.xs: reading the text back gives the job."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_job.errors import JobError
from replicate_job.job import Fallback, Job
from replicate_job.jobfile import ORIGINAL, load_job, to_xanoscript
from replicate_job.jobfile.fields import to_job
from replicate_job.jobfile.runjob import MAX_DEPTH, RunJob
from replicate_job.jobfile.source import Source
from replicate_job.jobfile.xanoscript import parse, read

RUN_XS = Path(__file__).parents[2] / "run.xs"

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**30, 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text(st.characters(max_codepoint=0x9F)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)
KEYS = st.text() | st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]*", fullmatch=True) | st.sampled_from(["true", "null", "main"])
INPUTS = st.dictionaries(KEYS, VALUES, max_size=4)
NAMES = st.text(min_size=1)
RUN_JOBS = st.builds(
    RunJob, title=st.text(), function=NAMES, input=INPUTS, env=st.lists(NAMES).map(tuple), description=st.text()
)
JOBS = st.builds(
    Job,
    model=st.sampled_from(["a/b", "a/b:" + "0f" * 32, "0f" * 32, "deployments/a/b"]),
    input_data=INPUTS,
    wait_for_completion=st.booleans(),
    poll_interval=st.none() | st.integers(1, 600) | st.floats(min_value=5e-324, max_value=1e300),
    max_poll_attempts=st.none() | st.integers(1, 2**63 - 1),
    cancel_after=st.none() | st.sampled_from(["30", "90s", "1h30m45s"]),
    webhook=st.none() | st.just("https://example.com/hook?a=1&b=%20"),
    webhook_events_filter=st.lists(st.sampled_from(["start", "output", "logs", "completed"])).map(tuple),
    allow_unknown=st.booleans(),
    title=st.text(),
    env=st.lists(NAMES).map(tuple),
)


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal and of the same types: 1, 1.0 and true differ, and so do 0.0 and -0.0."""
    return repr(left) == repr(right)


@pytest.mark.long
@given(RUN_JOBS)
@settings(max_examples=200, deadline=None)
def test_a_written_run_job_reads_back_the_same(run_job: RunJob) -> None:
    assert same(parse(to_xanoscript(run_job)), run_job)


@pytest.mark.long
@given(JOBS)
@settings(max_examples=150, deadline=None)
def test_a_written_job_reads_back_the_same(job: Job) -> None:
    source = Source(to_xanoscript(job), "run.xs")
    assert same(to_job(read(source), source, ORIGINAL), job)


def test_the_original_run_job_is_written_byte_for_byte() -> None:
    assert to_xanoscript(load_job(RUN_XS)).encode() == RUN_XS.read_bytes()


def test_a_short_job_is_written_with_its_defaults_and_without_empty_attributes() -> None:
    assert to_xanoscript(Job("a/b")) == (
        'run.job "Replicate Run AI Model" {\n'
        "  main = {\n"
        '    name: "replicate_run_prediction"\n'
        "    input: {\n"
        '      model: "a/b"\n'
        "      input_data: {}\n"
        "      wait_for_completion: true\n"
        "      poll_interval: null\n"
        "      max_poll_attempts: null\n"
        "    }\n"
        "  }\n"
        "}\n"
    )


def test_only_arrays_of_plain_values_are_written_on_one_line() -> None:
    run_job = RunJob("t", "f", {"plain": [1, "b", None, []], "of.objects": [{"a-b": 1}, {}], "empty": []})
    assert to_xanoscript(run_job) == (
        'run.job "t" {\n'
        "  main = {\n"
        '    name: "f"\n'
        "    input: {\n"
        '      plain: [1, "b", null, []]\n'
        "      of.objects: [\n"
        "        {\n"
        '          "a-b": 1\n'
        "        }\n"
        "        {}\n"
        "      ]\n"
        "      empty: []\n"
        "    }\n"
        "  }\n"
        "}\n"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e16, "10000000000000000.0"),
        (1e-7, "0.0000001"),
        (-2.5e-5, "-0.000025"),
        (5e-324, "0." + "0" * 323 + "5"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (2.0, "2.0"),
        ('tab\t, "quote", back\\slash, \x00, \x7f', r'"tab\t, \"quote\", back\\slash, \x00, \x7f"'),
        ((1, 2), "[1, 2]"),
    ],
)
def test_literals_of_values_are_written(value: object, text: str) -> None:
    assert f"      x: {text}\n" in to_xanoscript(RunJob("t", "f", {"x": value}))


def nested(depth: int) -> object:
    value: object = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.inf, "input_data.x is inf: a run.xs file has no literal for it"),
        ([{"y": math.nan}], "input_data.x[0].y is nan: a run.xs file has no literal for it"),
        ({"y": b"z"}, "input_data.x.y is a bytes: a run.xs file holds only what JSON does"),
        ({1: 2}, "input_data.x has the key 1: keys are strings"),
        (Path("cat.png"), "input_data.x is a local file: a run.xs file can hold only its URL"),
        ("\ud800", "input_data.x has half of a surrogate pair, which is not valid Unicode"),
        ({"\ud800": 1}, "a key of input_data.x has half of a surrogate pair, which is not valid Unicode"),
        pytest.param(10**5000, "input_data.x has too many digits to write", id="digits"),
    ],
)
def test_the_error_of_a_value_without_a_literal_names_the_field(value: object, message: str) -> None:
    with pytest.raises(JobError) as caught:
        to_xanoscript(Job("a/b", {"x": value}))
    assert str(caught.value) == message


def test_the_deepest_nesting_is_written_and_read_back_and_one_more_level_raises_an_error() -> None:
    run_job = RunJob("t", "f", {"x": nested(MAX_DEPTH - 1)})
    assert parse(to_xanoscript(run_job)) == run_job
    with pytest.raises(JobError, match="more than 200 deep"):
        to_xanoscript(RunJob("t", "f", {"x": nested(MAX_DEPTH)}))


def test_a_value_that_contains_itself_raises_an_error() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(JobError, match="more than 200 deep"):
        to_xanoscript(Job("a/b", {"x": loop}))


@pytest.mark.parametrize(
    ("run_job", "message"),
    [
        (RunJob("t", ""), "main.name is empty: a run.job names a function"),
        (RunJob("t", "f", env=("A", "")), "env has an empty name: it lists names of environment variables"),
        (RunJob("\udfff", "f"), "title has half of a surrogate pair, which is not valid Unicode"),
    ],
)
def test_a_run_job_that_no_file_can_hold_raises_an_error(run_job: RunJob, message: str) -> None:
    with pytest.raises(JobError) as caught:
        to_xanoscript(run_job)
    assert str(caught.value) == message


def test_every_field_of_a_job_is_written() -> None:
    changed = msgspec.structs.replace(
        Job("a/b"),
        cancel_after="5m",
        webhook="https://example.com/",
        webhook_events_filter=("completed",),
        allow_unknown=True,
        destination="acme/fox",
        fallback=(Fallback("c/d", {"prompt": "text"}),),
        env=("A",),
    )
    text = to_xanoscript(changed)
    for name in Job.__struct_fields__:
        if name not in {"title", "env"}:
            assert f"      {name}: " in text
    assert '  env = ["A"]\n' in text
