"""Files that go in (uploads) and come out (a model's outputs), on disk under names of our own."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from replicate_job.local.predictions import new_id
from replicate_job.wire import data_url
from replicate_job.wire.media import extension
from replicate_job.wire.openapi import definition

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class File(msgspec.Struct, frozen=True):
    """A file that is handed out: ``name`` is the last part of its address, safe everywhere. Times are Unix times."""

    id: str
    name: str
    path: Path
    content_type: str
    size: int
    sha256: str = ""
    metadata: dict[str, Any] = {}
    created_at: float = 0.0


class Files:
    """``folder`` is filled, never read: what is handed out is what was put in here.

    ``base_url`` is where clients reach the server, without a slash at its end.
    """

    def __init__(self, folder: Path, base_url: str) -> None:
        self._folder, self._base_url = folder, base_url
        self._uploads: dict[str, File] = {}
        self._outputs: dict[tuple[str, str], File] = {}  # by prediction and name
        self._places: dict[tuple[str, str], File] = {}  # by prediction and the place in its output

    async def upload(self, content: bytes, name: str, content_type: str, metadata: dict[str, Any]) -> File:
        id = new_id()  # noqa: A001 - the API's own name
        path = self._folder / "uploads" / id
        await asyncio.to_thread(_write, path, content)
        digest = hashlib.sha256(content).hexdigest()
        safe = _UNSAFE.sub("-", name).strip("-.")[-100:] or "file"
        found = File(id, safe, path, content_type, len(content), digest, metadata, time.time())
        self._uploads[id] = found
        return found

    def get_upload(self, id: str) -> File | None:  # noqa: A002 - the API's own name
        return self._uploads.get(id)

    def get_output(self, prediction: str, name: str) -> File | None:
        return self._outputs.get((prediction, name))

    def upload_url(self, file: File) -> str:
        return f"{self._base_url}/v1/files/{file.id}"

    def resolve(self, given: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
        """The input as its model gets it: an upload's address in the API becomes the address of its content."""

        def content_url(_: str, text: str) -> str:
            file = self._uploads.get(text.rpartition("/")[2])
            if file is None or text != self.upload_url(file):
                return text
            return f"{self._base_url}/files/{file.id}/{quote(file.name)}"

        resolved: dict[str, Any] = replace_files(given, definition(document, "Input") or {}, content_url)
        return resolved

    async def keep(self, prediction: str, value: Any, document: dict[str, Any], part: int | None = None) -> Any:
        """An output with its data URLs written to files and replaced by their addresses.

        ``part`` is the number of one item of a list. What is at a place already is not written again, so that the
        whole output may follow its parts.
        """

        def kept(place: str, text: str) -> str:
            known = self._places.get((prediction, place)) or self._write_output(prediction, place, text)
            return f"{self._base_url}/outputs/{prediction}/{known.name}" if known else text

        schema = definition(document, "Output") or {}
        if part is None:
            return await asyncio.to_thread(replace_files, value, schema, kept)
        return await asyncio.to_thread(replace_files, value, schema.get("items", {}), kept, f"out-{part}")

    def _write_output(self, prediction: str, place: str, text: str) -> File | None:
        try:
            content_type, content = data_url.decode(text)
        except ValueError:
            return None
        suffix = extension(content_type) or ".bin"
        stem = _UNSAFE.sub("-", place).strip("-.")[-100:] or "output"
        name = f"{stem}{suffix}"
        if (prediction, name) in self._outputs:  # two fields whose names differ in what a file name cannot show
            name = f"{stem}-{len(self._places)}{suffix}"
        path = self._folder / "outputs" / prediction / name
        _write(path, content)
        file = File(prediction, name, path, content_type, len(content))
        self._outputs[prediction, name] = self._places[prediction, place] = file
        return file


def replace_files(value: Any, schema: dict[str, Any], replace: Callable[[str, str], str], place: str = "") -> Any:
    """The value with ``replace(place, text)`` wherever the schema has a file, or says nothing and a data URL is there.

    Places are names for files: ``output``, ``out-0`` for items, a field's own name in an object.
    """
    if isinstance(value, str):
        is_file = schema.get("format") == "uri" or ("type" not in schema and value.startswith("data:"))
        return replace(place or "output", value) if is_file else value
    if isinstance(value, list):
        items = schema.get("items", {})
        return [replace_files(item, items, replace, f"{place or 'out'}-{index}") for index, item in enumerate(value)]
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        return {
            name: replace_files(item, fields.get(name, {}), replace, f"{place}-{name}" if place else name)
            for name, item in value.items()
        }
    return value


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
