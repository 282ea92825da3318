"""How much of this machine a model uses."""

from __future__ import annotations

import os

_MOST = 4  # threads: a model as small as these gains nothing from more


def threads() -> int:
    """Return how many threads a model uses: half of the cores, 1 to 4.

    Threads wait for each other, so if they use all cores, they slow down as soon as another process needs one.
    """
    return max(1, min(_MOST, (os.cpu_count() or 1) // 2))
