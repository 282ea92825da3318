"""Whether a folder takes outputs is found out without leaving a trace in it."""

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


def test_a_link_to_a_folder_is_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    check_folder(tmp_path / "link" / "new")


@pytest.mark.parametrize("name", ["file", "file/below", "nowhere", "nowhere/below", "loop/below", "x" * 300, "a\0b"])
def test_what_is_no_folder_and_cannot_become_one_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(JobError, match=r"^outputs cannot be kept in "):
        check_folder(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(JobError, match="Permission denied"):
        check_folder(tmp_path / "closed" / "new")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_disk_that_takes_nothing_is_told_from_a_name_that_is_wrong(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test can fill a disk: the system's own answer stands in for it."""

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


def test_it_is_bytes_that_are_tried_and_not_only_a_name(tmp_path: Path) -> None:
    told = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert os.strerror(errno.EFBIG) in told.stdout
    assert not list(tmp_path.iterdir())
