"""How much of this machine one model takes."""

from __future__ import annotations

import os

_MOST = 4  # so small models gain nothing from more


def threads() -> int:
    """Return half of the cores, 1 to 4: threads that wait for one another crawl when something else needs a core."""
    return max(1, min(_MOST, (os.cpu_count() or 1) // 2))
