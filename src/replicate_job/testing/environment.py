"""The environment variables that make clients use a server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SHORTEST_LAG = 3.0
"""The least REPLICATE_JOB_LIST_LAG, in seconds. A server whose list shows every prediction at once has this value."""
OVERTAKING = 6.0
"""REPLICATE_JOB_LIST_LAG is this many times ``list_lag``, because the list can show a prediction after newer ones."""


def environment_of(base_url: str, token: str, list_lag: float = 0.0) -> dict[str, str]:
    """The variables that make replicate-job and the official clients use a server.

    They are REPLICATE_API_TOKEN, REPLICATE_BASE_URL and REPLICATE_JOB_LIST_LAG. REPLICATE_JOB_LIST_LAG is how late
    the server's list can be: replicate-job searches the list that long for a prediction whose create request got no
    response. ``list_lag`` is in seconds.
    """
    return {
        "REPLICATE_API_TOKEN": token,
        "REPLICATE_BASE_URL": base_url,
        "REPLICATE_JOB_LIST_LAG": f"{max(SHORTEST_LAG, OVERTAKING * list_lag):g}",
    }


def environment_apart(
    served: Mapping[str, str], journal: str | Path, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables that make a program use a server on loopback, a separate journal, and no proxy for this machine.

    ``served`` are the server's variables. The hosts of ``no_proxy`` in ``environment`` stay in it.
    """
    # The official clients would use a proxy even for this machine.
    direct = ",".join(filter(None, ("127.0.0.1", environment.get("no_proxy") or environment.get("NO_PROXY"))))
    return {**served, "REPLICATE_JOB_JOURNAL": str(journal), "no_proxy": direct, "NO_PROXY": direct}
