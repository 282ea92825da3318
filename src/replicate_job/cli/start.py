"""The entry of the command. It imports next to nothing, so that Ctrl-C is quiet while all else is imported."""

from __future__ import annotations

import os
import signal

_INTERRUPTED = 130
"""As in ``exits``, which is not imported yet."""


def main() -> None:
    own = signal.getsignal(signal.SIGINT)
    if own is signal.default_int_handler:  # not where it is ignored, as by nohup
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    from replicate_job.cli.main import main as run  # noqa: PLC0415 - see above

    signal.signal(signal.SIGINT, own)
    run()
