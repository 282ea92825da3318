"""The package and the built-in models do not import each other, because the models run in their own environments."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from replicate_job.local.catalog.catalog import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS = [path for path in BUILT_IN.parent.rglob("*.py") if not path.is_relative_to(BUILT_IN)]
THEIRS = list(BUILT_IN.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """The full names of all imports in a file, at any level of indentation."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def importing(files: list[Path], names: set[str]) -> set[tuple[str, str]]:
    """The files that import one of the names, or something below it, each with that import."""
    return {
        (path.relative_to(BUILT_IN.parent).as_posix(), found)
        for path in files
        for found in imported(path)
        if any(f"{found}.".startswith(f"{name}.") for name in names)
    }


@pytest.mark.long
def test_the_package_imports_no_built_in_model_or_shared_module() -> None:
    shared = {path.name for path in (BUILT_IN / "_shared").iterdir() if path.name != "__pycache__"}
    assert len(OURS) > 100
    assert len(shared) > 5
    assert importing(OURS, shared | {"replicate_job.builtin_models"}) == set()


def test_the_built_in_models_import_nothing_of_the_package() -> None:
    assert len(THEIRS) > 40
    assert importing(THEIRS, {"replicate_job"}) == set()
