"""Common code of the commands: options, the session that the options open, and the way a command is run."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, asynccontextmanager
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click
import msgspec
from click.core import ParameterSource

from replicate_job.cli.completion import files, folders
from replicate_job.cli.log import FORMS, VARIABLE
from replicate_job.cli.reporters import open_reporter
from replicate_job.cli.signals import Terminated, run_async
from replicate_job.cli.streams import tell
from replicate_job.clock import SystemClock
from replicate_job.database import hide_password
from replicate_job.errors import JobError
from replicate_job.flow.context import Context, Reporter, command_line
from replicate_job.outputs.place import read_save
from replicate_job.quantity import MOST
from replicate_job.session import CREATE_RATE, check_token, open_session
from replicate_job.settings import Settings, read_settings
from replicate_job.version import __version__
from replicate_job.wire.duration import parse_seconds

if TYPE_CHECKING:
    from replicate_job.health import Address

OUTPUTS = "outputs"
"""The default folder for outputs."""

_F = TypeVar("_F", bound=Callable[..., Any])


class _Beating(Reporter, Protocol):
    """A reporter with a ``beat``, which shows that the command is still at work."""

    async def beat(self) -> None: ...


class Common(msgspec.Struct, frozen=True):
    """The options that all commands share. ``terminated`` says whether SIGTERM has come. ``called`` is the clock's
    ``now`` when the command began.
    """  # noqa: D205 - the first sentences need two lines

    journal: str | None
    quiet: bool
    verbose: bool
    local: bool
    allow_private_outputs: bool
    terminated: Terminated
    called: float = msgspec.field(default_factory=SystemClock().now)

    @property
    def settings(self) -> Settings:
        return read_settings(journal=self.journal, local=self.local, allow_private_outputs=self.allow_private_outputs)

    def line(self, *words: str) -> str:
        """A command line for a hint: ``words``, whose first word is the command.

        This call's options for the journal and the API are added if that command has them.
        """
        given = {}
        if self.allow_private_outputs:
            given["allow_private_outputs"] = ["--allow-private-outputs"]
        if self.local:
            given["local"] = ["--local"]
        if self.journal:
            given["journal"] = ["--journal", hide_password(self.journal)]
        known = _options_of(words[0]) if given else ()
        return command_line(*words, *(word for name, added in given.items() if name in known for word in added))

    def check_token(self) -> None:
        """Raise MissingVariableError if the API needs a token and none is set."""
        check_token(self.settings, may_be_local=_may_be_local())

    @asynccontextmanager
    async def session(  # noqa: PLR0913 - independent facts
        self,
        shown: AbstractContextManager[_Beating] | None = None,
        *,
        model: str = "",
        rate: float | None = CREATE_RATE,
        still: bool = False,
        stopped: str = "",
        needs_token: bool = True,
    ) -> AsyncIterator[Context]:
        """Open a session. ``shown`` is its reporter, by default a live line, or plain lines with ``still``.

        ``still`` is for streamed text, which a live line would disturb. ``rate`` is create requests a second.
        ``stopped`` is written to stderr if SIGINT or SIGTERM ends the session. ``needs_token`` is False for a command
        that sends no request to the API, or that calls ``check_token`` before its first request.
        """
        try:
            with shown or open_reporter(verbose=self.verbose, quiet=self.quiet, still=still) as reporter:
                beating = asyncio.create_task(reporter.beat())
                opening = open_session(
                    self.settings,
                    reporter,
                    model=model,
                    rate=rate,
                    line=self.line,
                    needs_token=needs_token,
                    may_be_local=_may_be_local(),
                )
                try:
                    async with opening as context:
                        self.terminated.hurry = context.journal.hurry
                        yield context
                finally:
                    beating.cancel()
        except asyncio.CancelledError:
            if stopped:
                tell(stopped)
            raise


@asynccontextmanager
async def healthy(address: Address | None, context: Context) -> AsyncIterator[None]:
    """Serve ``/healthz`` and ``/metrics`` within the block; ``address`` is None if ``--health-port`` is not given."""
    if address is None:
        yield
        return
    from replicate_job.health import serve_health  # noqa: PLC0415 - only for --health-port

    async with serve_health(address, context.journal) as served:
        context.reporter.tell(f"{served.origin}/healthz and {served.origin}/metrics are served")
        yield


def _may_be_local() -> bool:
    """Whether the current command has the option ``--local``."""
    return any(option.name == "local" for option in click.get_current_context().command.params)


def _options_of(command: str) -> set[str | None]:
    found: click.Command = import_module(f"replicate_job.cli.{command}").command
    return {option.name for option in found.params}


def common(
    command: Callable[..., Coroutine[Any, Any, int]], *, loop: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> Callable[..., int]:
    """Add the options that all commands share, pass them as a ``Common``, and run the command's coroutine.

    The coroutine returns the exit code. ``loop`` makes the event loop that the coroutine runs on. A command may do work
    before it returns its coroutine: Ctrl-C ends this work at once, even while it reads stdin.
    """

    @functools.wraps(command)
    def run(
        journal: str | None,
        *,
        quiet: bool,
        verbose: bool,
        local: bool = False,
        allow_private_outputs: bool = False,
        **own: Any,
    ) -> int:
        _refuse_empty()
        terminated = Terminated()
        shared = Common(journal, quiet, verbose, local, allow_private_outputs, terminated)
        return run_async(command(shared, **own), terminated, loop)

    for option in (
        click.version_option(__version__, prog_name="replicate-job"),
        log_format,
        click.option("-v", "--verbose", is_flag=True, help="Write more on stderr."),
        click.option("-q", "--quiet", is_flag=True, help="Write only errors on stderr."),
        click.option(
            "--journal",
            metavar="PATH|URL",
            shell_complete=files,
            help="The journal: a file, or postgresql://... [env: REPLICATE_JOB_JOURNAL]",
        ),
    ):
        run = option(run)
    return run


def _refuse_empty() -> None:
    """Raise JobError if an option or an argument was given as an empty text, as an unset variable of a shell is.

    An argument of several words is checked by its command.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        if context.get_parameter_source(parameter.name or "") is ParameterSource.DEFAULT:
            continue  # an option's default may be empty
        value, is_option = context.params.get(parameter.name or ""), isinstance(parameter, click.Option)
        if value == "" or (is_option and isinstance(value, tuple) and "" in value):
            advice = ": give it a value, or leave it out" if is_option else ""
            raise JobError(f"{parameter.opts[0] if is_option else parameter.human_readable_name} is empty{advice}")


class _HealthPort(click.ParamType["Address"]):
    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        from replicate_job.health import parse_address  # noqa: PLC0415 - only for --health-port

        try:
            return parse_address(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


def health_port(function: _F) -> _F:
    return click.option(
        "--health-port",
        type=_HealthPort(),
        metavar="[HOST:]PORT",
        help="Serve /healthz and /metrics (Prometheus) there; HOST is 127.0.0.1 by default.",
    )(function)


def log_format(function: _F) -> _F:
    """Add ``--log-format``. ``Log.choose`` reads it before click does, so that it applies to usage errors too."""
    return click.option(
        "--log-format",
        type=click.Choice(FORMS),
        expose_value=False,
        help=f"Lines on stderr as text (default) or as JSON objects. [env: {VARIABLE}]",
    )(function)


def local(function: _F) -> _F:
    return click.option("--local", is_flag=True, help="Run on this machine, without a token.")(function)


def fetching(function: _F) -> _F:
    """Add the option that allows outputs from private addresses."""
    text = "Fetch outputs also from this machine and private networks."
    return click.option("--allow-private-outputs", is_flag=True, help=text)(function)


def inputs(function: _F) -> _F:
    """Add the option for a file of inputs, which is passed as ``file``."""
    return click.option(
        "--input",
        "file",
        metavar="FILE",
        shell_complete=files,
        help="A file with a JSON object of inputs, - for stdin; KEY=VALUE wins.",
    )(function)


def output_only(function: _F) -> _F:
    text = "Print only the output: its text, or the paths of its files."
    return click.option("--output-only", is_flag=True, help=text)(function)


class Duration(click.ParamType[int]):
    """The type of options for a duration: ``30``, ``90s``, ``5m`` or ``1h30m``, converted to seconds.

    A duration below ``shortest`` seconds is refused.
    """

    name = "duration"

    def __init__(self, *, shortest: int = 0) -> None:
        self._shortest = shortest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            seconds = parse_seconds(value) if isinstance(value, str) else int(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds < self._shortest:
            self.fail(f"{value!r} is too short: give {self._shortest}s or more", param, ctx)
        return seconds


class Dollars(click.ParamType[Decimal]):
    """The type of options for an amount in USD: ``50``, ``0.25`` or ``$1,000``."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            amount = Decimal(str(value).strip().removeprefix("$").replace(",", ""))
        except ArithmeticError:
            amount = Decimal(0)
        if not amount.is_finite() or amount <= 0:
            self.fail(f"{value!r} is not an amount of USD above 0: write it like 50 or 0.25", param, ctx)
        return amount


def waiting(function: _F) -> _F:
    """Add the options for how long to wait and how often to poll, each None by default."""
    for option in (
        click.option(
            "--max-poll-attempts",
            type=click.IntRange(1, MOST),
            metavar="N",
            help="Give up waiting N x S seconds after creating; default: the job's own, else never.",
        ),
        click.option(
            "--poll-interval",
            type=click.FloatRange(0, min_open=True),
            metavar="S",
            help="Seconds between status checks; default: the job's own, else 1, growing to 5.",
        ),
        click.option(
            "--timeout",
            type=Duration(shortest=1),
            metavar="TIME",
            help="Stop waiting after 30s, 5m, 1h30m; the prediction goes on. It replaces N x S.",
        ),
    ):
        function = option(function)
    return function


def saving(default: str, place: str = "DIR/<prediction id>/") -> Callable[[_F], _F]:
    """Add the options for where outputs go; ``save`` is None by default. The help shows ``default`` and ``place``."""

    def add(function: _F) -> _F:
        where = f"Save outputs in {place}, or by a template: s3://bucket/{{date}}/{{id}}-{{name}}; default {default}."
        function = click.option("--no-save", is_flag=True, help="Keep no outputs.")(function)
        return click.option("--save", metavar="DIR|URL", shell_complete=folders, help=where)(function)

    return add


def place(save: str | None, *, no_save: bool, rows: bool = False) -> str | None:
    """The place for outputs as the journal stores it; None with ``no_save``.

    ``rows`` is True for a batch. Raises JobError for a wrong template.
    """
    return None if no_save else read_save(OUTPUTS if save is None else save, rows=rows)
