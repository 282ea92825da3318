"""Lines and progress that a model writes into its prediction's log."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


def say(text: str) -> None:
    """Write one line."""
    print(text, flush=True)  # noqa: T201 - stdout is a Cog model's log


def left_out(text: str) -> None:
    """Log a part of the request that a stand-in does not follow. Clients show lines that begin with ``Stand-in:``.

    The server that runs the model logs that it is a stand-in.
    """
    say(f"Stand-in: {text}")


def ignored(names: Collection[str]) -> None:
    """Log the inputs that are set and have no effect here, if there are any."""
    if names:
        left_out(f"without effect here: {', '.join(names)}")


class Progress:
    """A progress bar in tqdm's format, which clients parse. Each step is a new line."""

    def __init__(self) -> None:
        self._start, self._last = time.monotonic(), -1

    def show(self, done: float, total: int) -> None:
        """Log how much of ``total`` is done, once for each whole step."""
        step = min(total, int(done + 1e-9))
        if step == self._last:
            return
        self._last = step
        spent = time.monotonic() - self._start
        rate = step / spent if step and spent else 0
        remaining = _clock((total - step) / rate) if rate else "?"
        speed = f"{rate:.2f}it/s" if rate >= 1 else f"{1 / rate:.2f}s/it" if rate else "?it/s"
        # The bar has ten characters of eight eighths each. It is full if there is nothing to do.
        full = step * 80 // total if total else 80
        bar = ("█" * (full // 8) + " ▏▎▍▌▋▊▉"[full % 8].strip()).ljust(10)
        part = 100 * step // total if total else 100
        sys.stderr.write(f"{part:3d}%|{bar}| {step}/{total} [{_clock(spent)}<{remaining}, {speed}]\n")
        sys.stderr.flush()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
