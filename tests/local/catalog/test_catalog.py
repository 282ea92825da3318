from __future__ import annotations

import fcntl
import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from replicate_job.errors import LocalError
from replicate_job.local.catalog.catalog import BUILT_IN, Catalog
from replicate_job.local.catalog.model import read_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_version_changes_with_file_contents_and_names_but_not_with_caches(write_model: Callable[..., Path]) -> None:
    folder = write_model("code")
    seen = {first := read_model(folder).version}
    (folder / "sub").mkdir()
    for change in (
        lambda: (folder / "predict.py").write_text("code2"),
        lambda: (folder / "extra.txt").write_text(""),
        lambda: (folder / "extra.txt").rename(folder / "other.txt"),
        lambda: (folder / "other.txt").rename(folder / "sub" / "other.txt"),
    ):
        change()
        version = read_model(folder).version
        assert version not in seen
        seen.add(version)
    for cache in ("__pycache__", ".cog", ".git"):
        (folder / cache).mkdir()
        (folder / cache / "file").write_text("anything")
    assert read_model(folder).version == version
    assert len(first) == 64


def test_a_change_in_a_shared_folder_on_pythonpath_changes_the_version(write_model: Callable[..., Path]) -> None:
    folder = write_model("code", 'predict: "predict.py:P"\nenvironment: ["PYTHONPATH=../../_shared", "A=b=c"]\n')
    shared = folder.parent.parent / "_shared"
    shared.mkdir()
    (shared / "paint.py").write_text("1")
    model = read_model(folder)
    assert model.environment == {"PYTHONPATH": str(shared), "A": "b=c"}
    (shared / "paint.py").write_text("2")
    assert read_model(folder).version != model.version


def test_ignored_files_do_not_change_the_version(write_model: Callable[..., Path]) -> None:
    ignore = "# comment\n*.bin\nsecret/\n**/*.log\n!kept.bin\n"
    folder = write_model("code", _dot_dockerignore=ignore)
    version = read_model(folder).version
    for name in (
        "outputs/a.png",
        "node_modules/x.js",
        "weights.bin",
        "sub/y.bin",
        "secret/key",
        "sub/z.log",
        "env/a.py",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
        (folder / "env" / "pyvenv.cfg").parent.mkdir(exist_ok=True)
        (folder / "env" / "pyvenv.cfg").write_text("")
        assert read_model(folder).version == version, name
    (folder / "kept.bin").write_text("x")
    assert read_model(folder).version != version


def test_a_folder_that_was_renamed_after_the_listing_is_not_found(write_model: Callable[..., Path]) -> None:
    folder, now = write_model("code"), [0.0]
    catalog = Catalog([folder.parent.parent], interval=1.0, clock=lambda: now[0])
    assert catalog.find("me", "model")
    now[0] = 1.5
    assert catalog.find("no", "body") is None  # this lists the folders again
    folder.rename(folder.with_name("away"))
    now[0] = 2.0
    assert catalog.find("me", "model") is None
    assert catalog.find("me", "away")


def test_two_models_with_equal_files_have_different_versions(write_model: Callable[..., Path]) -> None:
    one, two = write_model("code", name="one"), write_model("code", name="two")
    assert read_model(one).version != read_model(two).version


@pytest.mark.parametrize(
    ("name", "config", "slug"),
    [
        ("My Model!", "", "local/my-model"),
        ("...", "", "local/model"),
        ("project", "image: r8.im/some-one/a.model\n", "some-one/a.model"),
        ("project", "image: registry.example/x/y\n", "local/project"),
    ],
)
def test_the_folder_of_a_cog_project_is_a_catalog_with_one_model(
    tmp_path: Path, name: str, config: str, slug: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "cog.yaml").write_text(f"predict: a.py:P\n{config}")
    (folder / "a.py").write_text("code")
    found = Catalog([folder]).find(*slug.split("/"))
    assert found
    assert (found.slug, found.folder, found.is_built_in) == (slug, folder, False)


def test_a_folder_is_checked_for_changes_after_the_interval(write_model: Callable[..., Path]) -> None:
    folder = write_model("code")
    now = [0.0]
    catalog = Catalog([folder.parent.parent], interval=1.0, clock=lambda: now[0])
    first = catalog.find("me", "model")
    assert first
    (folder / "predict.py").write_text("other")
    now[0] = 0.9
    assert catalog.find("me", "model") is first
    now[0] = 1.1
    second = catalog.find("me", "model")
    assert second
    assert second.version != first.version
    (folder / "cog.yaml").unlink()
    now[0] = 3.0
    assert catalog.find("me", "model") is None


class Kept:
    """Each call makes a new catalog over the same stored versions, as after a restart."""

    def __init__(self, root: Path, versions: Path) -> None:
        self._root, self._versions = root, versions

    def __call__(self) -> Catalog:
        return Catalog([self._root], versions=self._versions, interval=0.0)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "models", tmp_path / "versions")


def test_a_stored_version_is_not_changed_by_an_edit_of_its_folder(write_model: Callable[..., Path], kept: Kept) -> None:
    folder = write_model("one")
    (folder / "sub").mkdir()
    (folder / "sub" / "tool").write_text("#!/bin/sh\n")
    (folder / "sub" / "tool").chmod(0o755)
    old = kept().find("me", "model")
    assert old
    (folder / "predict.py").write_text("two")
    new = kept().find("me", "model")
    assert new
    assert (new.folder / "predict.py").read_text() == "two"
    for catalog in (kept(), kept()):
        again = catalog.version(old.version)
        assert again == old
        assert (again.folder / "predict.py").read_text() == "one"
        assert os.access(again.folder / "sub" / "tool", os.X_OK)
        assert [model.version for model in catalog.versions(new)] == [new.version, old.version]
    assert (new.folder / "sub" / "tool").samefile(old.folder / "sub" / "tool")


def test_undoing_an_edit_restores_the_old_version(write_model: Callable[..., Path], kept: Kept) -> None:
    folder = write_model("one")
    old = kept().find("me", "model")
    (folder / "predict.py").write_text("two")
    kept().find("me", "model")
    (folder / "predict.py").write_text("one")
    assert old
    assert [model.version == old.version for model in kept().versions(old)] == [True, False]


def test_a_large_file_is_linked_and_a_linked_folder_stays_a_link(write_model: Callable[..., Path], kept: Kept) -> None:
    folder = write_model("one")
    weights = folder.parent.parent.parent / "weights"
    weights.mkdir()
    (folder / "weights").symlink_to(weights)
    with (folder / "large.bin").open("wb") as handle:
        handle.truncate(33 * 2**20)
    found = kept().find("me", "model")
    assert found
    assert (found.folder / "large.bin").is_symlink()
    assert (found.folder / "weights").readlink() == weights
    assert not (found.folder / "predict.py").is_symlink()


def test_shared_folders_are_stored_with_the_version(write_model: Callable[..., Path], kept: Kept) -> None:
    config = 'predict: "predict.py:P"\nenvironment: ["PYTHONPATH=../../_shared:src:/usr/lib"]\n'
    folder = write_model("code", config)
    for made in (folder.parent.parent / "_shared", folder / "src"):
        made.mkdir()
        (made / "tool.py").write_text("1")
    old = kept().find("me", "model")
    assert old
    (folder.parent.parent / "_shared" / "tool.py").write_text("2")
    assert kept().find("me", "model") != old
    shared, own, outside = old.environment["PYTHONPATH"].split(":")
    assert own == str(old.folder / "src")
    assert outside == "/usr/lib"
    found = kept().version(old.version)
    assert found
    assert found.environment["PYTHONPATH"] == f"{shared}:{own}:{outside}"
    assert read_text(shared, "tool.py") == "1"


def read_text(folder: str, name: str) -> str:
    with open(f"{folder}/{name}") as handle:  # noqa: PTH123 - PYTHONPATH has paths as text
        return handle.read()


def test_a_version_that_another_process_removed_is_stored_again_from_its_folder(
    write_model: Callable[..., Path], tmp_path: Path
) -> None:
    catalog = Catalog([write_model("one").parent.parent], versions=tmp_path / "versions", interval=0.0)
    model = catalog.find("me", "model")
    assert model
    shutil.rmtree(tmp_path / "versions")
    assert catalog.find("me", "model") == model
    assert (model.folder / "predict.py").read_text() == "one"
    shutil.rmtree(tmp_path / "versions")
    assert catalog.version(model.version) == model
    assert (model.folder / "predict.py").read_text() == "one"


def edited(folder: Path, kept: Kept, count: int) -> list[str]:
    """Make ``count`` versions. The first was last used 100 days ago, and each later one a day after the one before."""
    ids = []
    for number in range(count):
        (folder / "predict.py").write_text(f"code {number}")
        found = kept().find("me", "model")
        assert found
        at = time.time() - (100 - number) * 24 * 3600
        os.utime(found.folder.parent, (at, at))
        ids.append(found.version)
    return ids


def test_unused_versions_are_removed_except_the_ten_used_last(
    write_model: Callable[..., Path], kept: Kept, tmp_path: Path
) -> None:
    folder = write_model("code", tool_dot_py="the same in all")
    ids = edited(folder, kept, 13)
    assert kept().version(ids[0])  # this marks it as used now
    kept().prune()
    catalog = kept()
    assert [version for version in ids if catalog.version(version)] == [ids[0], *ids[4:]]
    left = [file.read_text() for file in (tmp_path / "versions" / "files").iterdir()]
    assert "the same in all" in left
    assert {text for text in left if text.startswith("code")} == {f"code {n}" for n in (0, *range(4, 13))}
    (folder / "predict.py").write_text("code 1")
    again = kept().find("me", "model")
    assert again
    assert again.version == ids[1]
    assert (again.folder / "predict.py").read_text() == "code 1"


def test_a_version_that_another_process_removed_is_found_again_after_it_is_restored(
    write_model: Callable[..., Path], kept: Kept
) -> None:
    folder = write_model("code")
    catalog = kept()
    ids = edited(folder, kept, 12)
    assert catalog.version(ids[0])
    os.utime(folder.parents[2] / "versions" / ids[0], (0, 0))
    kept().prune()
    assert catalog.version(ids[0]) is None
    (folder / "predict.py").write_text("code 0")
    again = catalog.find("me", "model")
    assert again
    assert (again.folder / "predict.py").read_text() == "code 0"


def test_nothing_is_removed_while_another_process_stores_a_version(
    write_model: Callable[..., Path], kept: Kept, tmp_path: Path
) -> None:
    folder = write_model("code")
    ids = edited(folder, kept, 12)
    (left := tmp_path / "versions" / "unfinished-x").mkdir()
    with (tmp_path / "versions" / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        kept().prune()
        assert left.exists()
    kept().prune()
    assert not left.exists()
    assert kept().version(ids[0]) is None


def test_faulty_folders_are_reported_and_other_models_can_be_run(
    write_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_model("code")
    root = folder.parent.parent
    (tmp_path / "empty").mkdir()
    (tmp_path / "hidden" / "me").mkdir(parents=True)
    (tmp_path / "hidden" / "me" / "model").symlink_to(folder)
    (folder.parent / "torn").mkdir()
    (folder.parent / "torn" / "cog.yaml").write_text("build: {}")
    catalog = Catalog([root, tmp_path / "hidden", tmp_path / "empty"], interval=0.0)
    assert "me/model" in [model.slug for model in catalog.models()]
    torn, empty = catalog.faults
    assert torn.startswith(f"{folder.parent / 'torn' / 'cog.yaml'} names no predictor")
    assert empty == (
        f"no model in {tmp_path / 'empty'}: name a folder with a cog.yaml, or one that holds owner/name/cog.yaml"
    )
    (folder.parent / "torn" / "cog.yaml").write_text("predict: a.py:A")
    (tmp_path / "empty" / "cog.yaml").write_text("predict: a.py:A")
    catalog.models()
    assert catalog.faults == []


@pytest.mark.parametrize("id", ["", "0" * 64, "../../etc", "x" * 64])
def test_an_unknown_version_id_is_not_found(write_model: Callable[..., Path], kept: Kept, id: str) -> None:  # noqa: A002 - the API's own name
    write_model("code")
    assert kept().version(id) is None


def test_built_in_models_are_found_by_the_published_version_ids_of_the_real_models() -> None:
    catalog = Catalog()
    for model in catalog.models():
        assert model.is_built_in
        assert model.folder.is_relative_to(BUILT_IN)
        for id in model.published:  # noqa: A001 - the API's own name
            assert catalog.version(id) == model
    flux = catalog.find("black-forest-labs", "flux-schnell")
    assert flux
    assert flux.is_official
    assert flux.size


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("@concurrent(max=3)\n    async def run(self): ...", 3),
        ("@cog.concurrent(max=5)\n    async def predict(self): ...", 5),
        ("@concurrent\n    async def run(self): ...", 1),
        ("@concurrent(max=MANY)\n    async def run(self): ...", 1),
        ("@concurrent(max=3)\n    def other(self): ...", 1),
        ("def run(self: ...", 1),
    ],
)
def test_concurrency_is_read_from_cog_yaml_or_else_from_the_code(
    write_model: Callable[..., Path], code: str, count: int
) -> None:
    folder = write_model(f"class Predictor:\n    {code}\n")
    assert read_model(folder).concurrency == count
    (folder / "cog.yaml").write_text("predict: predict.py:Predictor\nconcurrency: {max: 7}\n")
    assert read_model(folder).concurrency == 7


def test_a_model_in_an_earlier_folder_hides_a_model_with_the_same_name_in_a_later_one(tmp_path: Path) -> None:
    for root in ("first", "second"):
        folder = tmp_path / root / "me" / "model"
        folder.mkdir(parents=True)
        (folder / "cog.yaml").write_text(f"predict: {root}.py:P")
    found = Catalog([tmp_path / "first", tmp_path / "second"]).find("me", "model")
    assert found
    assert (found.target, found.slug, found.is_official) == ("first.py:P", "me/model", False)


@pytest.mark.parametrize(("owner", "name"), [("..", ".."), ("me", "../me/model"), ("", ""), ("me", "none")])
def test_a_model_name_never_becomes_a_path(write_model: Callable[..., Path], owner: str, name: str) -> None:
    folder = write_model("code")
    assert Catalog([folder.parent.parent]).find(owner, name) is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("predict: [", "cannot be read"),
        ("build: {}", "names no predictor"),
        ("- a", "Expected `object`, got `array`"),
        ("predict: a.py:A\nconcurrency: 4", r"got `int` - at `\$.concurrency`"),
        ("predict: a.py:A\nconcurrency: {max: many}", r"got `str` - at `\$.concurrency.max`"),
        ("predict: a.py:A\nenvironment: 5", r"got `int` - at `\$.environment`"),
        ("predict: a.py:A\nbuild: [1]", r"got `array` - at `\$.build`"),
        ("predict: a.py:A\nbuild: {run: [{cmd: x}]}", r"missing required field `command`"),
        ("predict: a.py:A\nbuild: {python_packages: numpy}", r"got `str` - at `\$.build.python_packages`"),
        ("predict: a.py:A\nbuild: {python_requirements: 5}", r"got `int` - at `\$.build.python_requirements`"),
        ("predict: a.py:A\nenvironment: [A=1, B]", "environment has 'B', which is not NAME=value"),
    ],
)
def test_the_error_for_a_wrong_cog_yaml_names_the_file_and_the_fault(
    write_model: Callable[..., Path], config: str, reason: str
) -> None:
    folder = write_model("code", config)
    with pytest.raises(LocalError, match=reason) as caught:
        read_model(folder)
    assert str(folder / "cog.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)
