from __future__ import annotations

import os
from typing import TYPE_CHECKING

from replicate_job.local.environment.workspace import prune

if TYPE_CHECKING:
    from pathlib import Path


def test_workspaces_go_when_they_were_not_used_for_long_and_their_version_is_gone(tmp_path: Path) -> None:
    workspaces, versions = tmp_path / "workspaces", tmp_path / "versions"
    for name in ("new", "old", "kept"):
        (workspaces / name / "src").mkdir(parents=True)
    (versions / "kept").mkdir(parents=True)
    for name in ("old", "kept"):
        os.utime(workspaces / name, (0, 0))
    prune(workspaces, versions)
    assert {folder.name for folder in workspaces.iterdir()} == {"new", "kept"}
