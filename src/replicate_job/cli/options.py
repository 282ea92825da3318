"""Options that several commands share, and the session that they describe."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from replicate_job import __version__
from replicate_job.cli.exits import INTERRUPTED, TERMINATED
from replicate_job.cli.output import open_reporter
from replicate_job.cli.streams import give_up, tell
from replicate_job.flow.context import Context
from replicate_job.session import open_session
from replicate_job.settings import Settings, read_settings

_F = TypeVar("_F", bound=Callable[..., Any])


class Common(msgspec.Struct, frozen=True):
    """``--journal``, ``-q``, ``-v`` and ``--local`` of any command."""

    journal: str | None = None
    quiet: bool = False
    verbose: bool = False
    local: bool = False

    @property
    def settings(self) -> Settings:
        return read_settings(journal=self.journal, local=self.local)

    @asynccontextmanager
    async def session(self, *, model: str = "", still: bool = False) -> AsyncIterator[Context]:
        """A session whose reporter is the terminal. ``still``: the terminal shows text that is streamed."""
        with open_reporter(verbose=self.verbose, quiet=self.quiet, still=still) as reporter:
            async with open_session(self.settings, reporter, model=model) as context:
                yield context


def common(function: _F) -> _F:
    """The options of every command."""
    for option in (
        click.version_option(__version__, prog_name="replicate-job"),
        click.option("-v", "--verbose", is_flag=True, help="Tell more on stderr."),
        click.option("-q", "--quiet", is_flag=True, help="Tell nothing but errors on stderr."),
        click.option("--journal", metavar="PATH", help="The journal's file. [env: REPLICATE_JOB_JOURNAL]"),
    ):
        function = option(function)
    return function


def local(function: _F) -> _F:
    return click.option("--local", is_flag=True, help="Run on this machine, without a token.")(function)


def waiting(function: _F) -> _F:
    """How often to ask, and for how long."""
    for option in (
        click.option("--max-poll-attempts", type=click.IntRange(1), metavar="N", help="Status checks; default 60."),
        click.option(
            "--poll-interval",
            type=click.FloatRange(0, min_open=True),
            metavar="S",
            help="Seconds between status checks; default 1.",
        ),
    ):
        function = option(function)
    return function


def saving(function: _F) -> _F:
    """Where outputs go."""
    for option in (
        click.option("--no-save", is_flag=True, help="Keep no outputs."),
        click.option(
            "--save", default="outputs", show_default=True, metavar="DIR", help="Outputs go to DIR/<prediction id>/."
        ),
    ):
        function = option(function)
    return function


def folder(save: str, *, no_save: bool) -> str | None:
    """The folder for outputs, absolute: a job may be resumed from elsewhere."""
    return None if no_save else str(Path(save).expanduser().absolute())


class Terminated:
    """Whether SIGTERM has come. It leaves predictions running, where Ctrl-C cancels them."""

    def __init__(self) -> None:
        self.came = False


def run_async(work: Callable[[Terminated], Coroutine[Any, Any, int]], *, stopped: str = "") -> int:
    """Run a command's coroutine to its exit code; SIGINT and SIGTERM cancel it, and then ``stopped`` is said.

    A second SIGINT leaves at once, whatever still waits: a lock of the journal, an answer of the API.
    """
    terminated = Terminated()

    async def main() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task  # noqa: S101 - this is one

        def terminate() -> None:
            terminated.came = True
            task.cancel()

        def interrupt() -> None:
            loop.add_signal_handler(signal.SIGINT, give_up, INTERRUPTED)
            task.cancel()

        with suppress(NotImplementedError):  # Windows has no such handlers
            loop.add_signal_handler(signal.SIGTERM, terminate)
            loop.add_signal_handler(signal.SIGINT, interrupt)
        return await work(terminated)

    try:
        return asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        if stopped:
            tell(stopped)
        return TERMINATED if terminated.came else INTERRUPTED
