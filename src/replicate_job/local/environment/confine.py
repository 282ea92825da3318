"""Runs a command that can only write below the given folders: ``python -c TEXT FOLDER ... -- COMMAND ...``.

TEXT is the content of this script.

Linux's Landlock confines the command and every process that it starts, even as root. Reading is not restricted.
Landlock does not restrict changes of modes, owners and times of existing files.
"""

from __future__ import annotations

import ctypes
import os
import sys

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the numbers of the system calls, the same on every machine
_VERSION = 1  # a flag that asks for the supported version
_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES = 38  # for prctl
_WRITE_FILE = 1 << 1
# The rights to remove and make files and folders of any kind. Version 2 adds linking, and version 3 truncating.
_WRITE = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))
_SINCE_2, _SINCE_3 = 1 << 13, 1 << 14


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def version() -> int:
    """The version of Landlock on this system; 0 if there is none."""
    if sys.platform != "linux":
        return 0
    found = ctypes.CDLL(None, use_errno=True).syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    return max(0, int(found))


def restrict(folders: list[str]) -> None:
    """Allow this process, and those that it starts, to write below these folders only. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(*arguments: object) -> int:
        result = int(libc.syscall(*arguments))
        if result < 0:
            raise OSError(ctypes.get_errno(), "Landlock: " + os.strerror(ctypes.get_errno()))
        return result

    found = version()
    rights = _WRITE | (_SINCE_2 if found >= 2 else 0) | (_SINCE_3 if found >= 3 else 0)  # noqa: PLR2004 - versions of Landlock
    ruleset = call(_CREATE_RULESET, ctypes.byref(_Ruleset(rights)), ctypes.c_size_t(8), 0)
    writable = [folder for folder in (*folders, "/dev/shm") if os.path.isdir(folder)]  # noqa: S108, PTH112 - for semaphores
    for folder, allowed in [*((folder, rights) for folder in writable), ("/dev", _WRITE_FILE)]:
        handle = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(_PathBeneath(allowed, handle)), 0)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    call(_RESTRICT_SELF, ruleset, 0)


def main() -> None:
    end = sys.argv.index("--")
    restrict(sys.argv[1:end])
    os.execvp(sys.argv[end + 1], sys.argv[end + 1 :])  # noqa: S606 - without a shell: the caller gives a list of arguments


if __name__ == "__main__":
    main()
