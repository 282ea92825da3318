"""Run one command, and print what it cost.

``python -I -S launcher.py STDOUT COMMAND...`` sends the command's stdout to the file STDOUT and prints six numbers:
the Unix time of its exit, seconds from its start to its exit, seconds of user and of system CPU time, its peak resident
memory as ``ru_maxrss`` has it, its exit code. On Linux ``ru_maxrss`` is never below the size of the process that
started the command, so this small process starts it, and not the benchmark, which has a server inside.
"""

from __future__ import annotations

import os
import sys
import time


def main(stdout: str, command: list[str]) -> None:
    to_file = (os.POSIX_SPAWN_OPEN, 1, stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    start = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=[to_file])
    _, status, usage = os.wait4(pid, 0)
    seconds, end = time.perf_counter() - start, time.time()
    print(end, seconds, usage.ru_utime, usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
