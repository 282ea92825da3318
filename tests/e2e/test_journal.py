"""A journal that cannot be used causes one clear line. A result that exists is still printed."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replicate_job.testing import Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Command, Process

    from replicate_job.testing import ScriptedAPI

HELLO = "replicate/hello-world"


def newer(command: Command) -> str:
    command("list")
    with closing(sqlite3.connect(command.journal)) as database:
        database.execute("PRAGMA user_version = 99")
    return "was written by a newer release of replicate-job: update this one"


def corrupt(command: Command) -> str:
    command.journal.parent.mkdir()
    command.journal.write_bytes(b"no database at all, " * 500)
    return "is damaged (file is not a database): move it away, or name another with --journal (in Python journal=)"


def foreign(command: Command) -> str:
    command.journal.parent.mkdir()
    with closing(sqlite3.connect(command.journal)) as database:
        database.execute("CREATE TABLE songs (title TEXT)")
    return "is a database of something else"


def folder(command: Command) -> str:
    command.journal.mkdir(parents=True)
    return "cannot be used (unable to open database file): name another with --journal (in Python journal=)"


def below_a_file(command: Command) -> str:
    command.journal.parent.write_text("in the way")
    return "name another with --journal (in Python journal=)"


def torn(command: Command) -> str:
    """Remove pages of the journal, as a disk fault would."""
    for number in range(30):
        command("run", HELLO, f"text={number}" * 200, "--no-save", "--no-wait")
        if command.journal.stat().st_size > 20_000:
            break
    with closing(sqlite3.connect(command.journal)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    with command.journal.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    return "is damaged (database disk image is malformed)"


@pytest.mark.parametrize("break_", [newer, corrupt, foreign, folder, below_a_file, torn])
def test_with_a_journal_that_cannot_be_used_a_command_prints_a_one_line_error_and_creates_nothing(
    api: ScriptedAPI, command: Command, break_: Callable[[Command], str]
) -> None:
    said = break_(command)
    before = len(api.predictions)
    for words in (["list"], ["run", HELLO, "text=x"], ["resume"]):
        outcome = command(*words)
        assert outcome.code == 3
        assert said in outcome.error
        assert str(command.journal) in outcome.error
        assert outcome.out == b""
    assert len(api.predictions) == before


def test_a_read_only_journal_causes_a_one_line_error(api: ScriptedAPI, command: Command) -> None:
    command("run", HELLO, "text=x")
    command.journal.chmod(0o400)
    command.journal.parent.chmod(0o500)
    try:
        with command.journal.open("ab"):
            pytest.skip("root may write anywhere")
    except PermissionError:
        outcome = command("run", HELLO, "text=y")
    finally:
        command.journal.parent.chmod(0o700)
        command.journal.chmod(0o600)
    assert outcome.code == 3
    assert "is read-only: make it writable, or name another with --journal (in Python journal=)" in outcome.error
    assert len(api.predictions) == 1


def test_a_journal_that_stays_locked_causes_an_error_after_a_wait(api: ScriptedAPI, command: Command) -> None:
    command("list")
    with closing(sqlite3.connect(command.journal, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        process = command.start("run", HELLO, "text=x")
        outcome = process.end()
        assert outcome.code == 3
        assert "is held by another process (waited 10 s for it)" in outcome.error
        assert not api.predictions


def test_a_command_waits_for_a_journal_that_is_locked_for_a_moment(api: ScriptedAPI, command: Command) -> None:
    command("list")
    with closing(sqlite3.connect(command.journal, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        process = command.start("run", "acme/private")
        assert not process.ends_within(0.7)
        database.execute("COMMIT")
        assert process.end().code == 0
    assert len(api.predictions) == 1


def test_a_result_is_printed_even_if_the_journal_breaks_after_the_create_request(
    api: ScriptedAPI, command: Command
) -> None:
    api.next(Script(duration=math.inf, output="done"))
    process = command.start("run", HELLO, "text=x")
    api.wait_until(lambda: api.predictions)
    with closing(sqlite3.connect(command.journal, isolation_level=None)) as database:
        database.execute("DROP TABLE jobs")
    api.predictions[0].finish()
    outcome = process.end()
    assert outcome.code == 3
    assert outcome.response["output"] == "done"
    assert outcome.response["prediction_id"] == api.predictions[0].id
    assert str(command.journal) in outcome.error


@pytest.mark.parametrize("name", [":memory:", "file:journal?mode=memory"])
def test_a_journal_whose_name_means_memory_to_sqlite_is_a_file(api: ScriptedAPI, command: Command, name: str) -> None:
    env = {"REPLICATE_JOB_JOURNAL": name}
    outcomes = [command("run", HELLO, "text=x", "--key", "once", "--no-save", env=env) for _ in range(2)]
    assert [outcome.code for outcome in outcomes] == [0, 0]
    assert outcomes[0].response["prediction_id"] == outcomes[1].response["prediction_id"]
    assert api.count("create") == 1
    assert command("list", "--json", "--journal", name).json[0]["key"] == "once"
    assert (command.folder / name).stat().st_size > 0


def removed(command: Command) -> None:
    command.journal.unlink()


def replaced(command: Command) -> None:
    command.journal.rename(command.folder / "old.db")
    command.journal.touch()


def folder_removed(command: Command) -> None:
    command.journal.parent.rename(command.folder / "old")


@pytest.mark.parametrize("lose", [removed, replaced, folder_removed])
def test_a_batch_whose_journal_is_removed_or_replaced_sends_nothing_more(
    api: ScriptedAPI, command: Command, lose: Callable[[Command], None]
) -> None:
    api.next(Script(duration=math.inf, output="done"))
    (command.folder / "rows.jsonl").write_text("".join(f'{{"text": "{number}"}}\n' for number in range(4)))
    words = ("batch", HELLO, "rows.jsonl", "--results", "results.jsonl", "--concurrency", "1", "--no-report")
    process = command.start(*words, "-q")
    api.wait_until(lambda: api.predictions)
    lose(command)
    api.predictions[0].finish()
    outcome = process.end()
    assert outcome.code == 3
    assert f"the journal {command.journal} was removed or replaced while it was open" in outcome.err
    assert len(api.predictions) == 1


def has_open(process: Process, path: Path) -> bool:
    with suppress(FileNotFoundError):  # closed while we looked
        return any(held.samefile(path) for held in Path(f"/proc/{process.pid}/fd").iterdir())
    return False


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc tells when the command has come to the journal")
def test_a_second_ctrl_c_ends_the_process_while_the_journal_is_locked(command: Command) -> None:
    command("list")
    with closing(sqlite3.connect(command.journal, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        process = command.start("list")
        while not has_open(process, command.journal):
            assert not process.ends_within(0.02)
        process.interrupt()
        assert not process.ends_within(0.7)
        process.interrupt()
        assert process.ends_within(7)  # a wait for the journal takes 10 s
        assert process.end().code == 130
