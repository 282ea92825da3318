"""Users without a home, or with one that cannot be written: in containers, as services, from cron."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Outcome

    from replicate_job.testing import ScriptedAPI

NO_ENTRY = """
import os
os.getuid = lambda: 2**31 - 7  # a user of whom this system's files know nothing, as of docker run -u 12345
from replicate_job.cli.main import main
main()
"""
PROGRAM = (sys.executable, "-W", "error", "-c", NO_ENTRY)
RUN = ("run", "black-forest-labs/flux-schnell", "prompt=x")


@pytest.fixture
def homeless(command: Command) -> Command:
    """The command of a user who has neither HOME nor an entry in the system's list of users."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "REPLICATE_JOB_JOURNAL"):
        command.environment.pop(name, None)
    command.program = PROGRAM
    return command


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_without_a_home_folder_a_command_runs_if_it_is_given_a_journal(api: ScriptedAPI, homeless: Command) -> None:
    journal = homeless.folder / "kept" / "journal.db"
    first = homeless(*RUN, "--key", "mine", "--journal", journal)
    assert first.response["status"] == "succeeded"
    again = homeless(*RUN, "--key", "mine", env={"REPLICATE_JOB_JOURNAL": str(journal)})
    assert again.response["prediction_id"] == first.response["prediction_id"]
    assert (again.code, len(api.predictions)) == (0, 1)
    assert "journal.db" in names(journal.parent)
    assert "~" not in names(homeless.folder)


def test_without_a_home_folder_and_a_journal_one_line_says_which_option_to_give(
    api: ScriptedAPI, homeless: Command
) -> None:
    refused = homeless(*RUN)
    assert refused.code == 3
    assert refused.error == (
        "error: there is no home folder for the journal: "
        "name its file with REPLICATE_JOB_JOURNAL, or --journal (in Python journal=)"
    )
    assert api.requests == []


@pytest.mark.parametrize(
    "words",
    [
        (*RUN, "--journal", "~/journal.db"),
        (*RUN, "--journal", "j.db", "--save", "~/outputs"),
        ("run", "acme/private", "image=@~/a.png", "--journal", "j.db"),
        ("run", "acme/private", "--input", "~/input.json", "--journal", "j.db"),
        ("batch", "acme/private", "~/rows.jsonl", "--results", "r.jsonl", "--journal", "j.db"),
    ],
    ids=["journal", "outputs", "an input", "inputs", "rows"],
)
def test_without_a_home_folder_a_path_that_begins_with_a_tilde_is_refused(
    homeless: Command, words: tuple[str, ...]
) -> None:
    refused = homeless(*words)
    assert refused.code == 2
    assert "~" in refused.error
    assert "~" not in names(homeless.folder)


def local(command: Command, *words: str) -> Outcome:
    return command("run", "replicate/hello-world", "text=x", "--local", "--no-save", *words)


def test_without_a_home_folder_the_local_server_says_what_it_needs(homeless: Command) -> None:
    refused = local(homeless, "--journal", "j.db")
    assert refused.code == 3
    assert refused.error.endswith(
        "no home folder for the models' environments: set HOME, or XDG_CACHE_HOME to a folder"
    )
    refused = homeless("serve", "--port", "0")
    assert (refused.code, refused.error.rpartition(": ")[2]) == (3, "name a folder with --state")


def test_without_a_home_folder_a_model_is_built_in_the_given_cache_folder(homeless: Command) -> None:
    index = {name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_", "SSL_"))}
    cache = homeless.folder / "cache"
    homeless.environment = {**index, **homeless.environment, "XDG_CACHE_HOME": str(cache)}
    homeless.environment.pop("UV_CACHE_DIR", None)
    assert local(homeless, "--journal", "j.db").response["output"] == "hello x"
    assert "uv" in names(cache / "replicate-job" / "venvs")
    assert "~" not in names(homeless.folder)


@pytest.fixture
def cut_off(command: Command) -> Command:
    """The command of a user whose home is not a folder: not even root can make a folder there."""
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "REPLICATE_JOB_JOURNAL"):
        command.environment.pop(name, None)
    command.environment["HOME"] = "/dev/null"
    return command


def test_with_an_unwritable_home_folder_a_command_runs_if_it_is_given_a_journal(
    api: ScriptedAPI, cut_off: Command
) -> None:
    assert cut_off(*RUN, "--journal", "j.db").response["status"] == "succeeded"
    refused = cut_off(*RUN)
    assert refused.code == 3
    assert refused.error.startswith("error: the journal /dev/null/.local/state/replicate-job/journal.db cannot be used")
    assert refused.error.endswith("name another with --journal (in Python journal=)")
    assert len(api.predictions) == 1


def test_with_an_unwritable_home_folder_the_local_server_says_what_it_needs(cut_off: Command) -> None:
    refused = local(cut_off, "--journal", "j.db")
    assert (refused.code, refused.error.rpartition(": ")[2]) == (
        3,
        "set XDG_CACHE_HOME to a folder that can be written",
    )
    cut_off.environment["XDG_CACHE_HOME"] = str(cut_off.folder / "cache")
    refused = cut_off("serve", "--port", "0")
    assert (refused.code, refused.error) == (
        3,
        "error: /dev/null/.local/state/replicate-job/local cannot be written (Not a directory): name another --state",
    )


def test_a_command_runs_in_the_environment_of_cron(api: ScriptedAPI, command: Command) -> None:
    """Cron gives no locale, no terminal and a short PATH. The token is set in the crontab's line."""
    home = command.folder / "home"
    home.mkdir(exist_ok=True)
    command.environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", **api.environment}
    assert command(*RUN).response["status"] == "succeeded"
    assert (home / ".local" / "state" / "replicate-job" / "journal.db").exists()
