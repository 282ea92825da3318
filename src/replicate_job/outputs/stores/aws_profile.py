"""Reads AWS credentials from the files of AWS's own tools. The store's library does not read these files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from replicate_job.errors import JobError

_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}
_OTHER_WAYS = ("sso_session", "sso_start_url", "role_arn", "credential_process", "login_session")
_OTHERS = {"AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"}
_OTHERS |= {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_SKIP_SIGNATURE"}
"""Environment variables that take precedence over the files, as in AWS's own tools."""


class Profile(msgspec.Struct, frozen=True):
    """``keys`` maps the store's options to secret credentials. ``needs_boto3``: only boto3 can get the credentials."""

    name: str
    keys: Mapping[str, str] = {}
    region: str = ""
    needs_boto3: bool = False

    def __repr__(self) -> str:
        return f"Profile({self.name!r})"


def read_profile(environment: Mapping[str, str] = os.environ) -> Profile | None:
    """The profile to use. None if the environment has credentials, or there are no files.

    Raises JobError if ``AWS_PROFILE`` names a missing profile, or if a file cannot be read.
    """
    if any(environment.get(name) for name in _OTHERS):
        return None
    named = environment.get("AWS_PROFILE", "")
    name = named or "default"
    keys = _section(_file(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials"), name)
    config = _section(_file(environment, "AWS_CONFIG_FILE", "config"), name if name == "default" else f"profile {name}")
    if not (keys or config):
        if named:
            raise JobError(f"AWS_PROFILE names {named!r}, and there is no such profile in ~/.aws")
        return None
    both = config | keys
    found = {own: both[theirs] for theirs, own in _KEYS.items() if both.get(theirs)}
    needs_boto3 = not found and any(way in both for way in _OTHER_WAYS)
    return Profile(name, found, both.get("region", ""), needs_boto3)


def _file(environment: Mapping[str, str], variable: str, name: str) -> Path:
    home = environment.get("HOME") or environment.get("USERPROFILE") or "."
    named = environment.get(variable, "")
    return Path(named.replace("~", home, 1)) if named else Path(home, ".aws", name)


def _section(file: Path, name: str) -> dict[str, str]:
    import configparser  # noqa: PLC0415 - few users have such files

    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        with file.open(encoding="utf-8") as lines:
            parser.read_file(lines)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise JobError(f"{file} cannot be read: {error.strerror}") from None
    except (configparser.Error, UnicodeDecodeError):
        raise JobError(f"{file} cannot be read: it is not a file of AWS profiles") from None
    return dict(parser[name]) if parser.has_section(name) else {}
