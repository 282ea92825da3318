"""Prepares for the end of a prediction while the prediction runs, so that its end does not wait for imports."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib import import_module

from replicate_job.decoding import decoder
from replicate_job.journal.entry import STORED

AFTER = 0.05
"""Seconds from the start of a create request to the preparation. Shorter predictions are not prepared for."""

_prepared = set[bool]()


def warm_up(*, saves: bool) -> None:
    """Call ``prepare`` soon, unless this process is prepared."""
    if saves not in _prepared:
        asyncio.get_running_loop().call_later(AFTER, prepare, saves)


def prepare(saves: bool) -> None:  # noqa: FBT001 - `call_later` passes positional arguments
    """Have msgspec analyze the types of a journal's row. With ``saves``, also import the modules that save files."""
    _prepared.add(saves)
    for kind in STORED:
        decoder(kind)
    if saves:
        with suppress(Exception):  # the job imports it again if it needs it, and then raises the error
            for name in ("download", "http"):
                import_module(f"replicate_job.outputs.{name}")
