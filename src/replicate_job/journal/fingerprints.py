"""Keyed fingerprints. Equal fingerprints show that two jobs are the same, without storing their inputs.

Each journal has a random key. Without the key, a guess of the secret or picture in a job cannot be tested.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from replicate_job.journal.entry import asked, encode_values
from replicate_job.wire import data_url

if TYPE_CHECKING:
    from replicate_job.job import Job
    from replicate_job.journal.entry import CreateRequest

_SIZE = 15
"""Hex digits of a fingerprint: 60 bits, which fit into an integer of SQLite."""
_DATA = b'"data:'
_FLOAT = re.compile(rb"[:,\[]-?\d+(?:\.0|(?:\.\d+)?e)")  # a float that may be a whole number, or text like it


def print_text(key: bytes, text: bytes) -> str:
    return blake2b(text, key=key, digest_size=20).hexdigest()


def print_job(key: bytes, job: Job) -> str:
    """A fingerprint that is equal for two jobs that ask for the same prediction.

    The jobs' options for waiting may differ.
    """
    return print_text(key, _canonical(asked(job)))


def print_request(key: bytes, request: CreateRequest) -> tuple[int, int]:
    """Two fingerprints: the first of the whole request as it is sent, the second of the part that the API's list shows.

    The second fingerprint leaves out secrets, and the destination of a training, since the list does not show them. It
    uses the SHA-256 of a file's content in place of the file, even if the file was uploaded.
    """
    place = request.path.lower().encode() + b"\0"
    body = request.values
    whole = _number(key, place + _canonical(body))
    if not (request.secrets or request.files or request.body.find(_DATA) >= 0 or "destination" in body):
        return whole, whole
    listed = {name: value for name, value in body["input"].items() if name not in request.secrets}
    return whole, _number(key, place + _canonical([body.get("version"), _by_content(listed, request.files)]))


def _number(key: bytes, text: bytes) -> int:
    return int(print_text(key, text)[:_SIZE], 16)


def _canonical(value: Any) -> bytes:
    """JSON that is equal for equal values: names are sorted, and 1.0 is written as 1."""
    text = encode_values(value)
    return encode_values(_whole(value)) if _FLOAT.search(text) else text


def _whole(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _whole(item) for name, item in value.items()}
        case list() | tuple():
            return [_whole(item) for item in value]
    return value


def _by_content(value: Any, files: dict[str, str]) -> Any:
    match value:
        case str() if value in files:
            return files[value]
        case str() if value.startswith("data:"):
            return content_print(value) or value
        case dict():
            return {name: _by_content(item, files) for name, item in value.items()}
        case list():
            return [_by_content(item, files) for item in value]
    return value


def content_print(url: str) -> str | None:
    """The SHA-256 of a data URL's content, in hex. None if the data URL cannot be decoded."""
    import hashlib  # noqa: PLC0415 - the import loads OpenSSL, and most jobs send no files

    digest = hashlib.sha256()
    try:
        for block in data_url.read_blocks(url)[1]:
            digest.update(block)
    except ValueError:
        return None
    return digest.hexdigest()
