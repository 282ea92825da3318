"""Opens and closes together the parts that a job needs: API client, journal, downloads, local server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from replicate_job.aio import check_threads
from replicate_job.api.client import Client
from replicate_job.api.limiter import account_limiter
from replicate_job.api.transport import Transport, normalize
from replicate_job.clock import Clock, SystemClock
from replicate_job.flow.account import AccountNote
from replicate_job.flow.collect import LOCAL
from replicate_job.flow.context import Context, Reporter, RetryPolicy, command_line
from replicate_job.flow.single_strategy import SingleStrategy
from replicate_job.http import check_fork, is_loopback
from replicate_job.journal.open import open_journal
from replicate_job.journal.sqlite_thread import is_readable_by_others
from replicate_job.outputs.lazy_fetch import LazyFetch
from replicate_job.settings import LOCAL_ADVICE, TOKEN, TOKEN_ADVICE, Settings, check_environment
from replicate_job.telemetry import Telemetry, is_traced
from replicate_job.version import __version__

CREATE_RATE, OTHER_RATE = 600 / 60, 3000 / 60
"""Replicate's rate limits in requests a second: for create requests, and for all others.

From https://replicate.com/docs/topics/predictions/rate-limits.
"""
LOCAL_RETRY_POLICY = RetryPolicy(settle=0.5, overtaken=0.5, appear=0)
"""The local server lists a prediction at once, so look-ups need not wait."""


@asynccontextmanager
async def open_session(  # noqa: PLR0913 - independent facts
    settings: Settings,
    reporter: Reporter,
    *,
    model: str = "",
    retry_policy: RetryPolicy | None = None,
    rate: float | None = CREATE_RATE,
    clock: Clock = SystemClock(),  # noqa: B008 - it has no state
    line: Callable[..., str] = command_line,
    needs_token: bool = True,
    may_be_local: bool = True,
) -> AsyncIterator[Context]:
    """Open a client of the API, the journal and the downloads; with ``settings.local`` the local server too.

    ``model`` is started early by the local server. ``rate`` is create requests a second; with None only the API's 429s
    slow requests down. ``line`` writes the commands in hints. Raises MissingVariableError without a token, unless the
    API is on this machine. Without ``needs_token`` nothing is checked: the caller calls ``check_token`` before the
    first request. ``may_be_local``: the error names ``--local`` too. Raises ForkedError, LocalError.
    """
    check_fork()
    check_threads()
    async with AsyncExitStack() as stack:
        base_url = settings.base_url
        if settings.local:
            rate = None  # Replicate's limits do not apply to the local server
            base_url = await stack.enter_async_context(_serve(model, reporter))
        elif needs_token:
            check_token(settings, may_be_local=may_be_local)
        agent = f"replicate-job/{__version__}"
        transport = Transport(base_url, settings.token, user_agent=agent, headers=settings.headers, clock=clock)
        await stack.enter_async_context(transport)
        api = LOCAL if settings.local else transport.base_url
        journal = await stack.enter_async_context(open_journal(settings.journal, clock=clock, token=settings.token))
        store = None if settings.local else journal
        limit = partial(account_limiter, transport.base_url, settings.token, clock=clock, store=store)
        creates = await stack.enter_async_context(limit("create", rate))
        others = await stack.enter_async_context(limit("other", OTHER_RATE if rate else None, after=creates))
        client = Client(transport, creates=creates, others=others, clock=clock)
        account = AccountNote(api, client, journal, is_needed=bool(settings.token) and not settings.local)
        stack.push_async_callback(account.close)  # before the journal and the client that it uses
        context = Context(
            api=api,
            client=client,
            journal=journal,
            fetch=await stack.enter_async_context(
                LazyFetch(transport.base_url, allow_private=settings.allow_private_outputs)
            ),
            reporter=reporter,
            cache=settings.state,
            account=account,
            strategy=SingleStrategy(),
            ephemeral=settings.local,
            retry_policy=retry_policy or (LOCAL_RETRY_POLICY if settings.local else _retry_policy(settings.list_lag)),
            line=line,
            clock=clock,
            telemetry=_open_telemetry(transport.base_url),
        )
        if settings.local:
            context = msgspec.structs.replace(context, advise_missing=_advise_local)
        yield context
        if isinstance(settings.journal, Path) and is_readable_by_others(settings.journal):
            reporter.warn(f"other users can read the journal {settings.journal}: chmod 600 it if that is not wanted")


def check_token(settings: Settings, *, may_be_local: bool = True) -> None:
    """Raise MissingVariableError if the API needs a token and none is set."""
    if not is_loopback(urlsplit(normalize(settings.base_url)).hostname):
        advice = f"{TOKEN_ADVICE}, {LOCAL_ADVICE}" if may_be_local else TOKEN_ADVICE
        check_environment((TOKEN,), settings, token_advice=advice)


def _serve(model: str, reporter: Reporter) -> AbstractAsyncContextManager[str]:
    """The local server, which starts ``model`` early. Yields the server's address."""
    from replicate_job.local.options import ServerOptions  # noqa: PLC0415 - an extra, and slow to import
    from replicate_job.local.server import serve  # noqa: PLC0415 - as above

    return serve(ServerOptions(warm=model, on_notice=reporter.tell, on_warning=reporter.warn, on_detail=reporter.note))


def _open_telemetry(base_url: str) -> Telemetry:
    if is_traced(os.environ):
        with suppress(ModuleNotFoundError):  # the extra is not installed
            from replicate_job.otel import OpenTelemetry  # noqa: PLC0415 - an extra, and slow to import

            return OpenTelemetry(base_url, os.environ)
    return Telemetry()


def _retry_policy(list_lag: float) -> RetryPolicy:
    """The retry policy for an API whose list shows a prediction after at most ``list_lag`` seconds.

    Once the list shows a newer prediction, an older prediction is late by at most a sixth of ``list_lag``.
    """
    return RetryPolicy(settle=list_lag, overtaken=list_lag / 6)


def _advise_local(name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only an error needs it

    from replicate_job.local.catalog.catalog import Catalog  # noqa: PLC0415 - an extra, and rarely needed

    names = [model.slug for model in Catalog().models()]
    similar = get_close_matches(name, names, n=1)
    question = f"did you mean {similar[0]}? " if similar else ""
    return (
        f"{question}On this machine there are {', '.join(names)}; "
        "all others run on Replicate, without --local (in Python local=True)"
    )
