"""Replaces output files by data URLs, for clients that do not recognize an http address as a file.

The official clients make a file object (``output.read()``) only from an ``https:`` or ``data:`` address (replicate
1.0.7 and 2.0.0b4 for Python, 1.4.0 for JavaScript). The addresses of this server are ``http:``.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.wire import data_url

if TYPE_CHECKING:
    from replicate_job.local.files.outputs import Outputs

LARGEST = 20 * 2**20
"""The most bytes of all files in one prediction that become data URLs. A file beyond this limit stays an address."""
_CLIENT = re.compile(r"replicate-(?:python|javascript)/|\w+/Python ")


def takes_no_http(user_agent: str) -> bool:
    return _CLIENT.match(user_agent) is not None


async def inline(body: bytes, here: str, outputs: Outputs) -> bytes:
    """A prediction's body with data URLs for its output files, up to ``LARGEST``. ``here`` is this server's origin."""
    if f'"{here}/outputs/'.encode() not in body:
        return body
    return await asyncio.to_thread(_inline, body, here, outputs)


def _inline(body: bytes, here: str, outputs: Outputs) -> bytes:
    prediction: dict[str, Any] = msgspec.json.decode(body)
    remaining = LARGEST

    def inlined(value: Any) -> Any:
        nonlocal remaining
        if isinstance(value, list):
            return [inlined(item) for item in value]
        if isinstance(value, dict):
            return {name: inlined(item) for name, item in value.items()}
        is_here = isinstance(value, str) and value.startswith(here)
        file = outputs.find(value[len(here) :]) if is_here else None
        if file is None or file.size > remaining:
            return value
        with suppress(FileNotFoundError):  # the prediction's data are being removed
            content = file.path.read_bytes()
            remaining -= len(content)
            return data_url.encode(file.content_type, content)
        return value

    return msgspec.json.encode(prediction | {"output": inlined(prediction["output"])})
