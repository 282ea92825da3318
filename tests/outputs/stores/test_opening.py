"""A bucket is opened with the settings in the environment. A one-line error names a wrong setting without its value."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from obstore.store import S3Store

from replicate_job.errors import JobError
from replicate_job.outputs.stores.location import Bucket
from replicate_job.outputs.stores.opening import open_bucket

S3, GS, AZ = (Bucket(scheme, "b") for scheme in ("s3", "gs", "az"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in os.environ:
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("bucket", "variables", "said"),
    [
        (GS, {"GOOGLE_APPLICATION_CREDENTIALS": "/hush"}, "its settings or credentials cannot be read: check the"),
        (AZ, {}, "the storage account is not known: set AZURE_STORAGE_ACCOUNT_NAME"),
        (AZ, {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": "!hush"}, "variables AZURE_…"),
        (S3, {"AWS_ACCESS_KEY_ID": "hush"}, "variables AWS_…"),
        (S3, {"AWS_ENDPOINT_URL": "hush hush"}, "AWS_ENDPOINT_URL is not an address: write it like https://"),
        (S3, {"AWS_ENDPOINT_URL_S3": "https://hush:hush@x"}, "AWS_ENDPOINT_URL_S3 is not an address"),
        (S3, {"AWS_PROFILE": "nobodys"}, "there is no such profile"),
    ],
)
def test_invalid_settings_raise_a_one_line_error(
    monkeypatch: pytest.MonkeyPatch, bucket: Bucket, variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(JobError) as caught:
        open_bucket(bucket)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)


def config_of(bucket: Bucket) -> dict[str, Any]:
    opened = open_bucket(bucket)
    assert isinstance(opened, S3Store)
    return dict(opened.config)


def write(home: Path, name: str, *lines: str) -> None:
    (home / ".aws").mkdir(exist_ok=True)
    (home / ".aws" / name).write_text("\n".join(lines))


def test_the_keys_and_region_of_a_profile_are_used(home: Path) -> None:
    write(home, "credentials", "[default]", "aws_access_key_id = AKIA", "aws_secret_access_key = s")
    write(home, "config", "[default]", "region = eu-west-1")
    config = config_of(S3)
    assert (config["access_key_id"], config["secret_access_key"], config["region"]) == ("AKIA", "s", "eu-west-1")


def test_a_region_in_the_environment_takes_precedence_over_the_profiles(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, "config", "[default]", "aws_access_key_id = A", "aws_secret_access_key = s", "region = eu-west-1")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    assert "region" not in config_of(S3)


def test_a_profile_with_a_credential_process_uses_boto3(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = '{"Version": 1, "AccessKeyId": "AKIA", "SecretAccessKey": "s"}'
    (home / "facts.json").write_text(facts)
    write(home, "config", "[profile tool]", f"credential_process = cat {home}/facts.json")
    monkeypatch.setenv("AWS_PROFILE", "tool")
    assert "access_key_id" not in config_of(S3), "they are asked for when they are needed"
    (home / "facts.json").unlink()
    with pytest.raises(JobError, match="the AWS profile 'tool' gives no credentials"):
        open_bucket(S3)


def test_the_error_for_a_profile_that_needs_boto3_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, "config", "[default]", "sso_session = acme")
    monkeypatch.setitem(sys.modules, "boto3.session", None)
    with pytest.raises(JobError, match="the AWS profile 'default' gets its credentials from elsewhere: pip install"):
        open_bucket(S3)
