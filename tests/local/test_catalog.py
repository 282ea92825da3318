from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_job.errors import LocalError
from replicate_job.local.catalog import Catalog, read_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_version_changes_with_every_byte_and_name_and_with_nothing_else(write_model: Callable[..., Path]) -> None:
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


def test_shared_folders_on_the_python_path_belong_to_the_version(write_model: Callable[..., Path]) -> None:
    folder = write_model("code", 'predict: "predict.py:P"\nenvironment: ["PYTHONPATH=../../_shared", "A=b=c"]\n')
    shared = folder.parent.parent / "_shared"
    shared.mkdir()
    (shared / "paint.py").write_text("1")
    model = read_model(folder)
    assert model.environment == {"PYTHONPATH": str(shared), "A": "b=c"}
    (shared / "paint.py").write_text("2")
    assert read_model(folder).version != model.version


def test_an_earlier_folder_hides_the_same_name_in_a_later_one(tmp_path: Path) -> None:
    for root in ("first", "second"):
        folder = tmp_path / root / "me" / "model"
        folder.mkdir(parents=True)
        (folder / "cog.yaml").write_text(f"predict: {root}.py:P")
    found = Catalog([tmp_path / "first", tmp_path / "second"]).find("me", "model")
    assert found
    assert (found.target, found.slug, found.is_official) == ("first.py:P", "me/model", False)


@pytest.mark.parametrize(("owner", "name"), [("..", ".."), ("me", "../me/model"), ("", ""), ("me", "none")])
def test_a_name_never_becomes_a_path(write_model: Callable[..., Path], owner: str, name: str) -> None:
    folder = write_model("code")
    assert Catalog([folder.parent.parent]).find(owner, name) is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("predict: [", "cannot be read"),
        ("build: {}", "names no predictor"),
        ("- a", "names no"),
        ("predict: a.py:A\nenvironment: [A=1, B]", "environment has 'B', which is not NAME=value"),
    ],
)
def test_a_cog_yaml_that_is_wrong_says_where_and_what_to_do(
    write_model: Callable[..., Path], config: str, reason: str
) -> None:
    folder = write_model("code", config)
    with pytest.raises(LocalError, match=reason) as caught:
        read_model(folder)
    assert str(folder / "cog.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)
