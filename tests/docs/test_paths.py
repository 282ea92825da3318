"""Each module and folder that the pages for contributors name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "docs/architecture.md", *sorted((ROOT / "docs/decisions").glob("*.md"))]
PLACES = [ROOT, ROOT / "src/replicate_job", ROOT / "src/replicate_job/builtin_models"]
NAMED = re.compile(r"`((?:[a-z_.]+/)+[a-zA-Z_.-]*)`")
"""A path in backquotes, of lower-case folders: ``flow/create``, ``tests/local/``."""
TO_COME = {"cli/where.py"}
"""Made by the reader, who follows an example."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_the_page_names_exists(page: Path) -> None:
    named = {match[1] for match in NAMED.finditer(page.read_text("utf-8"))} - TO_COME
    missing = [path for path in named if _is_ours(path) and not any(_exists(place / path) for place in PLACES)]
    assert missing == []


def _is_ours(path: str) -> bool:
    """Whether its first folder is in the repository. Other paths are a user's, or a command makes them."""
    return any((place / path.partition("/")[0]).is_dir() for place in PLACES)


def _exists(path: Path) -> bool:
    return path.exists() or path.with_name(f"{path.name}.py").exists()
