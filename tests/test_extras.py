"""The advice for a missing extra names packages, because the package itself may come from a checkout."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib import metadata

import pytest

from replicate_job import extras

LOCAL = {"httptools", "python-multipart", "pyyaml", "starlette", "uv", "uvicorn", "uvloop"}


def names(line: str) -> set[str]:
    pip, install, *packages = shlex.split(line)
    assert (pip, install) == ("pip", "install")
    return {package.partition("<")[0].partition(">")[0] for package in packages}


def test_if_an_extra_is_installed_but_broken_all_its_packages_are_named() -> None:
    assert names(extras.advice("local")) == LOCAL
    assert names(extras.advice("parquet")) == {"pyarrow"}


def test_only_the_missing_packages_of_an_extra_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = metadata.distribution

    def lacking(name: str) -> metadata.Distribution:
        if name in {"starlette", "uv"}:
            raise metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr(metadata, "distribution", lacking)
    assert extras.advice("local") == "pip install 'starlette>=1' 'uv>=0.5'"


def test_if_the_package_itself_is_not_installed_its_extra_is_named() -> None:
    code = f"import runpy; print(runpy.run_path({extras.__file__!r})['advice']('local'))"
    said = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "install the extra 'local' of replicate-job\n"
