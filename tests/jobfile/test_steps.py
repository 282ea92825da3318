"""Job files with steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicate_job import Chain, Step, load_chain, load_job
from replicate_job.errors import JobFileError

POSTER = """# poster.toml
title = "A poster"
[[step]]
name = "draw"
model = "black-forest-labs/flux-schnell"
input = { prompt = "{prompt}", day = 2025-03-14 }
[[step]]
name = "enlarge"
model = "nightmareai/real-esrgan"
cancel_after = "5m"
allow_unknown = true
[step.input]
image = "{draw.output[0]}"
"""


def write(tmp_path: Path, text: str, name: str = "poster.toml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_steps_are_read_from_toml_and_json(tmp_path: Path) -> None:
    draw = Step("draw", "black-forest-labs/flux-schnell", {"prompt": "{prompt}", "day": "2025-03-14"})
    enlarge = Step("enlarge", "nightmareai/real-esrgan", {"image": "{draw.output[0]}"}, "5m", allow_unknown=True)
    assert load_chain(write(tmp_path, POSTER)) == Chain([draw, enlarge], "A poster")
    text = '{"step": [{"name": "a", "model": "acme/a", "input": {"x": ["{y}", 1]}}]}'
    assert load_chain(write(tmp_path, text, "poster.json")) == Chain([Step("a", "acme/a", {"x": ["{y}", 1]})])


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "cancel_after",
            "cancel_afer",
            ':7:1: step "enlarge": unknown name "cancel_afer" (did you mean cancel_after?)',
        ),
        ("cancel_after", "scale", ':7:1: step "enlarge": unknown name "scale" (inputs of the model itself belong in'),
        ('"5m"', '"soon"', ':7:1: step "enlarge": cancel_after must be a string such as "30"'),
        ('model = "nightmareai/real-esrgan"\n', "", ':7:1: step "enlarge": model is missing'),
        ('name = "draw"', "name = 7", ":3:1: step 7: name must be a non-empty string, found 7"),
        ('name = "draw"', 'name = "enlarge"', ": two steps are named 'enlarge': give one another name"),
        (
            "{draw.output[0]}",
            "{drew.output}",
            ": step enlarge, input image: {drew.output}: there is no step 'drew'; did",
        ),
        ('title = "A poster"', "titel = 1", ': unknown name "titel" beside the steps (did you mean title?)'),
        ("[[step]]", "[step]", ":7:6: not valid TOML: cannot declare ('step',) twice"),
    ],
)
def test_the_error_for_a_mistake_in_a_step_names_its_position(tmp_path: Path, old: str, new: str, problem: str) -> None:
    path = write(tmp_path, POSTER.replace(old, new))
    with pytest.raises(JobFileError) as raised:
        load_chain(path)
    assert str(raised.value).startswith(f"{path}{problem}")


def test_load_chain_refuses_a_job_and_load_job_refuses_a_chain(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match="this file is a chain of steps, and no job"):
        load_job(write(tmp_path, POSTER))
    with pytest.raises(JobFileError, match="this file is a job, and no chain of steps"):
        load_chain(write(tmp_path, 'model = "acme/a"  # one step', "job.toml"))
    with pytest.raises(JobFileError, match="step must be an array of tables"):
        load_chain(write(tmp_path, 'step = "draw"'))


def test_a_step_may_run_for_each_item_of_a_list(tmp_path: Path) -> None:
    text = POSTER.replace('cancel_after = "5m"', 'for_each = "{draw.output}"').replace("{draw.output[0]}", "{each}")
    assert load_chain(write(tmp_path, text)).steps[1].for_each == "{draw.output}"
    with pytest.raises(JobFileError, match=r'step "enlarge": for_each must be a non-empty string, found 7'):
        load_chain(write(tmp_path, text.replace('"{draw.output}"', "7")))
