from __future__ import annotations

import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from replicate_job.local.catalog.folder import copy_folder, copy_linked_files
from replicate_job.local.catalog.model import read_model
from replicate_job.local.environment.workspace import Workspace, prune

if TYPE_CHECKING:
    from pathlib import Path


def test_unused_workspaces_without_a_stored_version_are_removed(tmp_path: Path) -> None:
    workspaces, versions = tmp_path / "workspaces", tmp_path / "versions"
    for name in ("new", "old", "kept"):
        (workspaces / name / "src").mkdir(parents=True)
    (versions / "kept").mkdir(parents=True)
    for name in ("old", "kept"):
        os.utime(workspaces / name, (0, 0))
    prune(workspaces, versions)
    assert {folder.name for folder in workspaces.iterdir()} == {"new", "kept"}


def test_a_workspace_whose_server_runs_is_not_removed(tmp_path: Path) -> None:
    """Its server began more than 30 days ago, and its version has been replaced since."""
    workspace = tmp_path / "workspaces" / "old"
    (workspace / "src").mkdir(parents=True)
    with (workspace / "lock").open("wb") as server:
        fcntl.flock(server, fcntl.LOCK_EX)
        os.utime(workspace, (0, 0))
        prune(tmp_path / "workspaces", tmp_path / "versions")
        assert (workspace / "src").is_dir()
    prune(tmp_path / "workspaces", tmp_path / "versions")
    assert not workspace.exists()


def test_a_server_gets_its_workspace_although_another_server_prunes_at_that_moment(tmp_path: Path) -> None:
    """Without it, the server would use a copy of the workspace, and the files that the model adds would be lost."""
    model = tmp_path / "me" / "model"
    model.mkdir(parents=True)
    (model / "cog.yaml").write_text('predict: "predict.py:Predictor"\n')
    (model / "predict.py").write_text("")
    workspace = Workspace(read_model(model), tmp_path / "venv", tmp_path / "workspaces" / "one")
    workspace.source.mkdir(parents=True)
    is_over = threading.Event()

    def prune_again_and_again() -> None:
        while not is_over.is_set():
            prune(tmp_path / "workspaces", tmp_path / "versions")

    with ThreadPoolExecutor(1) as pool:
        pruning = pool.submit(prune_again_and_again)
        handles = []
        for _ in range(300):
            handles.append(handle := workspace.claim())
            if handle:
                handle.close()
        is_over.set()
        pruning.result()
    assert all(handles)


def test_unchanged_copies_that_a_killed_server_left_become_links_again(tmp_path: Path) -> None:
    stored, source = tmp_path / "versions" / "one" / "0", tmp_path / "workspaces" / "one" / "src"
    stored.mkdir(parents=True)
    for name in ("same", "written", "edited"):
        (tmp_path / name).write_text(name)
        (stored / name).symlink_to(tmp_path / name)
    copy_folder(stored, source)
    copy_linked_files(stored, source)
    assert not any(file.is_symlink() for file in source.iterdir())
    (source / "written").write_text("by the model")
    (tmp_path / "edited").write_text("by the user")
    prune(tmp_path / "workspaces", tmp_path / "versions")
    assert {file.name for file in source.iterdir() if file.is_symlink()} == {"same"}
    assert (source / "edited").read_text() == "edited"


def test_links_inside_a_folder_lead_into_its_copy_and_other_links_become_files(tmp_path: Path) -> None:
    folder, copy = tmp_path / "folder", tmp_path / "copies" / "copy"
    (folder / "deep").mkdir(parents=True)
    (folder / "file").write_text("inner")
    (folder / "deep" / "link").symlink_to(folder / "file")
    (tmp_path / "outer").write_text("outer")
    (folder / "deep" / "outer").symlink_to("../../outer")
    copy_folder(folder, copy)
    copy_linked_files(folder, copy)
    (copy / "deep" / "link").write_text("changed")
    (copy / "deep" / "outer").write_text("changed")
    assert (copy / "file").read_text() == "changed"
    assert [(folder / "file").read_text(), (tmp_path / "outer").read_text()] == ["inner", "outer"]
