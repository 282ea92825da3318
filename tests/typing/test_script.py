"""A user's script passes mypy's strict mode with the installed package, and each deliberate error in it is reported."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
SCRIPT = Path(__file__).with_name("script.py")


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), "user.py"]
    (folder / "mypy.ini").write_text("[mypy]\n")
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=170, check=False)


def test_a_users_script_is_checked_without_an_error(tmp_path: Path) -> None:
    """Strict mode also refuses a ``type: ignore`` without an error, so every ignored error occurs."""
    shutil.copy(SCRIPT, tmp_path / "user.py")
    checked = check(tmp_path)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout
