from __future__ import annotations

from pathlib import Path

import pytest

from replicate_job.errors import JobError, MissingVariableError
from replicate_job.settings import check_environment, read_settings

ENVIRONMENT = {
    "REPLICATE_API_TOKEN": "r8_environment",
    "REPLICATE_BASE_URL": "http://127.0.0.1:5000",
    "REPLICATE_JOB_JOURNAL": "/tmp/there.db",  # noqa: S108 - no such file is opened
}


def test_settings_come_from_the_environment() -> None:
    found = read_settings(ENVIRONMENT)
    assert (found.token, found.base_url, str(found.journal)) == tuple(ENVIRONMENT.values())
    assert not found.local


def test_arguments_replace_the_environment() -> None:
    found = read_settings(ENVIRONMENT, token="r8_mine", base_url="http://localhost", journal="~/mine.db")  # noqa: S106 - not a real token
    assert (found.token, found.base_url) == ("r8_mine", "http://localhost")
    assert found.journal == Path.home() / "mine.db"


@pytest.mark.parametrize("name", ["mine.db", "deep/mine.db", ":memory:", "file:x?mode=memory"])
def test_a_relative_journal_is_in_the_working_folder_of_the_time_when_settings_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for found in (read_settings({"REPLICATE_JOB_JOURNAL": name}), read_settings({}, journal=Path(name))):
        assert found.journal == tmp_path / name


def test_a_relative_folder_for_state_is_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.platform", "linux")
    found = read_settings({"XDG_STATE_HOME": "state"})
    assert found.state == tmp_path / "state" / "replicate-job"
    assert found.journal == found.state / "journal.db"


@pytest.mark.parametrize("environment", [{}, dict.fromkeys(ENVIRONMENT, "")])
def test_the_defaults_are_replicates_api_and_the_users_state_folder(environment: dict[str, str]) -> None:
    found = read_settings(environment)
    assert (found.token, found.base_url) == (None, "https://api.replicate.com")
    assert found.journal == found.state / "journal.db"
    assert found.state.is_absolute()
    assert "replicate-job" in str(found.state)


def test_white_space_around_a_token_is_removed() -> None:
    assert read_settings({"REPLICATE_API_TOKEN": " r8_x\r\n"}).token == "r8_x"  # noqa: S105 - not a real token
    assert read_settings({"REPLICATE_API_TOKEN": " \n"}).token is None


@pytest.mark.parametrize("token", ["r8_ä", "r8_a b", "r8_a\nb", "r8_\x00", "Bearer r8_x", "r8_\u200bx"])
def test_a_token_that_a_header_cannot_carry_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(JobError, match="REPLICATE_API_TOKEN holds characters that no token has") as caught:
        read_settings({"REPLICATE_API_TOKEN": token})
    assert token not in str(caught.value)


def test_a_local_run_has_no_token() -> None:
    found = read_settings(ENVIRONMENT, local=True)
    assert (found.token, found.local) == (None, True)


def test_the_error_names_a_missing_variable_and_gives_advice() -> None:
    remote = read_settings({})
    with pytest.raises(MissingVariableError, match=r"REPLICATE_API_TOKEN is not set: .*api-tokens.*--local") as caught:
        check_environment(("REPLICATE_API_TOKEN",), remote, {})
    assert caught.value.name == "REPLICATE_API_TOKEN"
    with pytest.raises(MissingVariableError, match="MY_SECRET is not set"):
        check_environment(("MY_SECRET",), remote, {"OTHER": "x"})
    with pytest.raises(MissingVariableError, match="MY_SECRET"):
        check_environment(("MY_SECRET",), remote, {"MY_SECRET": ""})


def test_variables_that_are_set_raise_no_error() -> None:
    check_environment(("MY_SECRET",), read_settings({}), {"MY_SECRET": "x"})
    check_environment(("REPLICATE_API_TOKEN",), read_settings({}, token="r8_x"), {})  # noqa: S106 - not a real token
    check_environment(("REPLICATE_API_TOKEN",), read_settings({}, local=True), {})
    check_environment((), read_settings({}), {})


@pytest.mark.parametrize("quoted", ['"r8_x"', "'r8_x'", ' "r8_x"\n', '" r8_x "'])
def test_quotes_around_a_token_are_removed(quoted: str) -> None:
    assert read_settings({"REPLICATE_API_TOKEN": quoted}).token == "r8_x"  # noqa: S105 - not a real token
    assert read_settings({}, token=quoted).token == "r8_x"  # noqa: S105 - not a real token


def test_the_repr_of_settings_hides_the_token_and_header_values() -> None:
    found = read_settings(ENVIRONMENT, headers={"X-Key": "sesame"})
    assert found.headers == {"x-key": "sesame"}
    assert "sesame" not in repr(found)
    assert "r8_environment" not in f"{found}"
    assert "'x-key': '***'" in repr(found)
    assert "base_url='http://127.0.0.1:5000'" in repr(found)
