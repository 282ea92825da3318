"""The commands that need a token, and their messages without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from replicate_job.testing import Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

AWAY = {"REPLICATE_API_TOKEN": "", "REPLICATE_BASE_URL": ""}
"""Replicate itself, without a token."""
MODEL = "black-forest-labs/flux-schnell"


@pytest.mark.parametrize(
    ("words", "is_advised"),
    [(["cancel", "x"], False), (["wait", "x"], False), (["show", "x"], True), (["run", MODEL, "prompt=a"], True)],
)
def test_the_error_for_a_missing_token_names_the_option_local_if_the_command_has_it(
    command: Command, words: list[str], *, is_advised: bool
) -> None:
    outcome = command(*words, env=AWAY)
    assert (outcome.code, "--local" in outcome.error) == (2, is_advised)
    assert "get a token at https://replicate.com/account/api-tokens" in outcome.error


def test_resume_needs_a_token_only_for_unfinished_jobs_of_its_api(command: Command, api: ScriptedAPI) -> None:
    outcome = command("resume", env=AWAY)
    assert (outcome.code, outcome.error) == (0, "no unfinished jobs")
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=Script(duration=1000))
    command("run", MODEL, "prompt=a", "--no-wait", "--key", "k")
    outcome = command("resume", env=AWAY)
    assert (outcome.code, f"1 more at {api.base_url}" in outcome.err) == (0, True)


@pytest.mark.parametrize("name", ["show", "wait", "cancel"])
def test_the_error_for_the_key_of_a_job_at_another_api_names_that_other_api(
    command: Command, api: ScriptedAPI, name: str
) -> None:
    command("run", MODEL, "prompt=a", "--no-save", "--key", "k")
    with ScriptedAPI() as other:
        env = {"REPLICATE_BASE_URL": other.base_url, "REPLICATE_API_TOKEN": other.token}
        outcome = command(name, "k", env=env)
    assert outcome.code == 2
    told = f"the job of that key is at {api.base_url}/v1: REPLICATE_BASE_URL={api.base_url}/v1 shows it"
    assert told in outcome.error
