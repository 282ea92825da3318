"""The clients that are compared, each installed in a virtual environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec
from platformdirs import user_cache_path

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(__file__).with_name("clients")
CACHE = user_cache_path("replicate-job-benchmarks", appauthor=False)
OURS, V1, V2, BARE = "replicate-job", "replicate==1.0.7", "replicate==2.0.0b4", "bare"


class RunningAPI(Protocol):
    """A running API: a ``ScriptedAPI`` or a ``server.Server``."""

    @property
    def base_url(self) -> str: ...
    @property
    def environment(self) -> Mapping[str, str]: ...


class Peer(msgspec.Struct, frozen=True):
    """An installed client, and how to call it."""

    name: str
    bin: Path

    def program(self, name: str) -> str:
        return str(self.bin / name)

    def script(self, work: str, *arguments: str) -> list[str]:
        """The command that runs this client's script for ``work`` (``create``, ``run``, ``calls``, ``batch``)."""
        short = {OURS: "ours", V1: "v1", V2: "v2", BARE: "bare"}[self.name]
        return [self.program("python"), str(SCRIPTS / f"{work}_{short}.py"), *arguments]

    def environment(self, api: RunningAPI, home: Path) -> Mapping[str, str]:
        """The variables of its process, of which only PATH is the caller's. State is in ``home``."""
        return {
            "PATH": os.defpath,
            "HOME": str(home),
            "XDG_STATE_HOME": str(home),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            **api.environment,
            # Only this client expects the version in its base URL.
            "REPLICATE_BASE_URL": api.base_url + ("/v1" if self.name == V2 else ""),
        }


def install(cache: Path) -> dict[str, Peer]:
    """Make the missing environments, and install this source tree as it is now."""
    ours = make_environment(cache, OURS)
    # Not editable: the other clients have compiled files in site-packages too, and the tree may change meanwhile.
    pip_install(ours, str(ROOT))
    peers = {OURS: Peer(OURS, ours)}
    for requirement in (V1, V2):
        peers[requirement] = Peer(requirement, make_environment(cache, requirement))
        pip_install(peers[requirement].bin, requirement)
    return peers


def install_for_speed(cache: Path) -> dict[str, Peer]:
    """The same with what makes them fastest, and ``BARE``, the HTTP library of replicate-job alone."""
    peers = install(cache)
    pip_install(peers[OURS].bin, "uvloop")  # as with [local]
    peers[V2] = Peer(V2, make_environment(cache, "replicate-aiohttp==2.0.0b4"))
    pip_install(peers[V2].bin, V2.replace("==", "[aiohttp]=="))
    peers[BARE] = Peer(BARE, make_environment(cache, BARE))
    pip_install(peers[BARE].bin, "pyreqwest", "msgspec", "uvloop")
    return peers


def make_environment(cache: Path, name: str) -> Path:
    """The folder of the environment's programs."""
    folder = cache / f"{name.replace('==', '-')}-py{sys.version_info.major}{sys.version_info.minor}"
    if not (folder / "bin" / "pip").exists():
        print(f"making {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    return folder / "bin"


def pip_install(programs: Path, *arguments: str) -> None:
    pip = [str(programs / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, *arguments], check=True)
