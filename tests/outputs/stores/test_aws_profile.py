"""Profiles in the files of AWS's own tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicate_job.errors import JobError
from replicate_job.outputs.stores.aws_profile import read_profile

CREDENTIALS = """
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key = d%s

[work]
aws_access_key_id = AKIAWORK
aws_secret_access_key = w
aws_session_token = t
"""
CONFIG = """
[default]
region = eu-west-1

[profile work]
region = eu-central-1

[profile login]
sso_session = acme
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(CREDENTIALS)
    (tmp_path / ".aws" / "config").write_text(CONFIG)
    return tmp_path


def test_without_a_profile_name_the_default_profile_is_used(home: Path) -> None:
    profile = read_profile({"HOME": str(home)})
    assert profile
    assert dict(profile.keys) == {"access_key_id": "AKIADEFAULT", "secret_access_key": "d%s"}
    assert profile.region == "eu-west-1"
    assert "AKIA" not in repr(profile)


def test_a_named_profile_is_used(home: Path) -> None:
    profile = read_profile({"HOME": str(home), "AWS_PROFILE": "work"})
    assert profile
    assert dict(profile.keys) == {"access_key_id": "AKIAWORK", "secret_access_key": "w", "session_token": "t"}
    assert profile.region == "eu-central-1"


def test_environment_variables_can_name_other_profile_files(home: Path, tmp_path: Path) -> None:
    (home / ".aws" / "credentials").rename(tmp_path / "elsewhere")
    profile = read_profile({"HOME": str(home), "AWS_SHARED_CREDENTIALS_FILE": "~/elsewhere"})
    assert profile
    assert profile.keys["access_key_id"] == "AKIADEFAULT"


def test_a_profile_with_a_login_needs_boto3(home: Path) -> None:
    profile = read_profile({"HOME": str(home), "AWS_PROFILE": "login"})
    assert profile
    assert profile.needs_boto3


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"])
def test_credentials_in_the_environment_take_precedence_over_files(home: Path, name: str) -> None:
    assert read_profile({"HOME": str(home), name: "x"}) is None


def test_without_profile_files_there_is_no_profile(tmp_path: Path) -> None:
    assert read_profile({"HOME": str(tmp_path)}) is None


def test_a_named_profile_that_is_missing_raises_an_error(home: Path) -> None:
    with pytest.raises(JobError, match="AWS_PROFILE names 'wrok', and there is no such profile"):
        read_profile({"HOME": str(home), "AWS_PROFILE": "wrok"})


def test_a_malformed_profile_file_raises_an_error_that_hides_its_content(home: Path) -> None:
    (home / ".aws" / "credentials").write_text("AKIASECRET")
    with pytest.raises(JobError, match="it is not a file of AWS profiles") as caught:
        read_profile({"HOME": str(home)})
    assert "AKIA" not in str(caught.value)
