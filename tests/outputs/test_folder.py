"""The test whether a folder can hold outputs leaves no trace in it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from replicate_job.errors import JobError, OutputError
from replicate_job.outputs.folder import check_folder


@pytest.mark.parametrize("name", ["", "new", "new/deep/er"])
def test_a_folder_that_can_be_written_or_made_stays_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "there").mkdir()
    check_folder(tmp_path / "there" / name)
    assert not list((tmp_path / "there").iterdir())


def test_a_link_to_a_folder_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    check_folder(tmp_path / "link" / "new")


@pytest.mark.parametrize("name", ["file", "file/below", "nowhere", "nowhere/below", "loop/below", "x" * 300, "a\0b"])
def test_the_error_names_a_path_that_is_not_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(JobError, match=r"^outputs cannot be kept in "):
        check_folder(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_raises_an_error(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(JobError, match="Permission denied"):
        check_folder(tmp_path / "closed" / "new")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_full_disk_and_a_wrong_path_are_different_errors(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test can fill a disk, so the system call's error is raised in its place."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(JobError if code == errno.EROFS else OutputError, match=os.strerror(code)):
        check_folder(tmp_path)


LIMITED = """
import resource, signal, sys
from pathlib import Path
from replicate_job.errors import JobError
from replicate_job.outputs.folder import check_folder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    check_folder(Path(sys.argv[1]))
except JobError as error:
    print(error)
"""


def test_the_check_of_a_folder_writes_bytes_into_a_file(tmp_path: Path) -> None:
    told = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert os.strerror(errno.EFBIG) in told.stdout
    assert not list(tmp_path.iterdir())
