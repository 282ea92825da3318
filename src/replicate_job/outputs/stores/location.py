"""Splits a store's URL into bucket and key: ``s3://bucket/pictures/7.webp``."""

from __future__ import annotations

import re

import msgspec

from replicate_job.errors import JobError

SCHEMES = ("s3", "gs", "az")
"""Amazon S3 and stores with its protocol, Google Cloud Storage, Azure Blob Storage."""
_BUCKET = r"[A-Za-z0-9$][A-Za-z0-9._-]{0,254}"


class Bucket(msgspec.Struct, frozen=True):
    """A bucket; in Azure a container."""

    scheme: str
    name: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.name}"


def split(url: str) -> tuple[Bucket, str]:
    """The bucket and the object's key, which may be empty. Outer and double slashes are removed.

    Nothing in the key is decoded. Raises JobError, whose message shows no part of the URL that may be secret.
    """
    scheme, _, rest = url.partition("://")
    name, _, key = rest.partition("/")
    if "@" in name or ":" in name:
        raise JobError(
            f"{scheme}://…: credentials do not belong into the URL of a store: write {scheme}://BUCKET/KEY, "
            "and leave them to the store's own settings"
        )
    if "?" in rest:
        raise JobError(f"{scheme}://…: the URL of a store has no query (?…): write {scheme}://BUCKET/KEY")
    if not re.fullmatch(_BUCKET, name):
        raise JobError(f"{url!r} names no bucket: write {scheme}://BUCKET/KEY, with letters, digits and hyphens")
    steps = [step for step in key.split("/") if step]
    if {".", ".."} & set(steps):
        raise JobError(f"{url!r}: an object's key has no steps like '.' or '..'")
    return Bucket(scheme, name), "/".join(steps)
