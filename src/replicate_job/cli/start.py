"""The command's entry point. It imports little, so that Ctrl-C shows no traceback during the other imports."""

from __future__ import annotations

import gc
import os
import signal

_INTERRUPTED = 130
"""The exit code for SIGINT, as in ``exits``, which is not imported yet."""


def main() -> None:
    gc.disable()  # imports make no garbage to search for; ``cli.main`` enables it again
    own = signal.getsignal(signal.SIGINT)
    if own is signal.default_int_handler:  # if SIGINT is ignored, as in a shell's background job, it stays ignored
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    from replicate_job.cli.main import main as run  # noqa: PLC0415 - see above

    signal.signal(signal.SIGINT, own)
    run()
