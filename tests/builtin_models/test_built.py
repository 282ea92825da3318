"""Building a wheel and a source distribution: the built-in models run where only the wheel is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import msgspec
import pytest
from uv import find_uv_bin

from replicate_job.local.catalog.catalog import BUILT_IN, Catalog

pytestmark = pytest.mark.long

SOURCE = BUILT_IN.parent
HELLO = "replicate/hello-world"


def uv(*words: str | Path) -> None:
    """Run uv. If it fails, its output is in the test's report."""
    subprocess.run([find_uv_bin(), *words], check=True, cwd=SOURCE.parents[1])


def is_cache(part: str) -> bool:
    """Whether Python or a tool makes folders of that name in a checkout."""
    return part == "__pycache__" or part.startswith(".")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that is built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--wheel", "--out-dir", folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_a_wheel_has_every_file_of_the_package_and_no_others(wheel: Path) -> None:
    files = {path.relative_to(SOURCE.parent) for path in SOURCE.rglob("*") if path.is_file()}
    packed = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == {path.as_posix() for path in files if not any(map(is_cache, path.parts))}


def test_a_source_distribution_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    uv("build", "--sdist", "--out-dir", tmp_path)
    (source,) = tmp_path.glob("*.tar.gz")
    uv("build", "--wheel", "--out-dir", tmp_path, source)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_an_installed_wheel_lists_describes_and_runs_the_built_in_models(wheel: Path, tmp_path: Path) -> None:
    uv("venv", "--no-project", "--python", sys.executable, tmp_path / "venv")
    uv("pip", "install", "--python", tmp_path / "venv/bin/python", f"{wheel}[local]")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("REPLICATE_", "XDG_", "PYTHON"))}
    own = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_STATE_HOME": str(tmp_path / "state")}

    def answer(*words: str) -> Any:
        command = [str(tmp_path / "venv/bin/replicate-job"), *words]
        done = subprocess.run(command, env=ours | own, cwd=tmp_path, stdout=subprocess.PIPE, check=True)
        return msgspec.json.decode(done.stdout)

    listed = answer("models", "--json")
    versions = {each["model"]: each["version"] for each in listed}  # a version is made from every file of the model
    assert versions == {model.slug: model.version for model in Catalog().models()}
    assert all(Path(each["folder"]).is_relative_to(tmp_path / "venv") for each in listed)
    described = answer("schema", HELLO, "--local", "--json")
    assert described == msgspec.json.decode((BUILT_IN / HELLO / "openapi.json").read_bytes())["components"]["schemas"]
    assert answer("run", HELLO, "text=you", "--local")["output"] == "hello you"
