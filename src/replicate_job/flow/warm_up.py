"""Prepares for the end of a prediction while the prediction runs, so that its end does not wait for imports."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module

from replicate_job.decoding import decoder, is_analyzed
from replicate_job.journal.strip import Sent
from replicate_job.wire.prediction import Prediction

AFTER = 0.05
"""Seconds after the create request. A prediction that still runs then leaves time for the preparation."""

_DOWNLOAD = "replicate_job.outputs.download"


def warm_up(*, saves: bool) -> None:
    """Call ``prepare`` soon, unless this process is prepared."""
    if not is_analyzed(Prediction) or (saves and _DOWNLOAD not in sys.modules):
        asyncio.get_running_loop().call_later(AFTER, prepare, saves)


def prepare(saves: bool) -> None:  # noqa: FBT001 - `call_later` passes positional arguments
    """Import what saves files, with ``saves``, and have msgspec analyze the types that are decoded at the end."""
    for kind in (Prediction, Sent):
        decoder(kind)
    if saves:
        import_module(_DOWNLOAD)
