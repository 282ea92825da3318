"""How clients are led to a server by their environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SHORTEST_LAG = 3.0
"""REPLICATE_JOB_LIST_LAG, in seconds, for a list that shows every prediction at once."""
OVERTAKING = 6.0
"""By how much more than ``list_lag`` that variable is: an item can be listed later than newer ones."""


def environment_of(base_url: str, token: str, list_lag: float = 0.0) -> dict[str, str]:
    """The variables by which replicate-job and the official clients use a server.

    REPLICATE_API_TOKEN, REPLICATE_BASE_URL, and REPLICATE_JOB_LIST_LAG: how late the server's list can be, which is how
    long replicate-job waits for it after a create request without an answer. ``list_lag`` is in seconds.
    """
    return {
        "REPLICATE_API_TOKEN": token,
        "REPLICATE_BASE_URL": base_url,
        "REPLICATE_JOB_LIST_LAG": f"{max(SHORTEST_LAG, OVERTAKING * list_lag):g}",
    }


def environment_apart(
    served: Mapping[str, str], journal: str | Path, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """``served``, the variables of a server on loopback, with a journal of its own, and without a proxy to it."""
    # The official clients would ask a proxy for this machine, too.
    direct = ",".join(filter(None, ("127.0.0.1", environment.get("no_proxy") or environment.get("NO_PROXY"))))
    return {**served, "REPLICATE_JOB_JOURNAL": str(journal), "no_proxy": direct, "NO_PROXY": direct}
