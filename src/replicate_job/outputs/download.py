"""Saves output files. Each file is complete and checked, or an error says why it could not be saved."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import msgspec

from replicate_job.aio import in_thread
from replicate_job.errors import CertificateError, OutputError, OutputExpiredError, TransportError
from replicate_job.http import shown
from replicate_job.job import Kept
from replicate_job.outputs.error_page import page_in_place_of
from replicate_job.outputs.names import stems
from replicate_job.outputs.part import Part, Place
from replicate_job.outputs.resume import Known, Verdict, judge, request_headers
from replicate_job.wire import data_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from replicate_job.outputs.discover import OutputFile

ATTEMPTS = 8
"""How many requests in a row may bring no new byte before the file is given up."""

_TOGETHER = 4
_BLOCK = 512 * 1024  # bytes of a write. Each write runs in a thread, so larger blocks need fewer threads.
_LONGEST_WAIT = 30.0  # seconds


class SavedFile(msgspec.Struct, frozen=True):
    """``path`` is a path on the disk or the URL of an object in a store. ``size`` is in bytes, ``sha256`` in hex.

    ``url`` is the file's source (a data URL without its content).
    """

    path: Kept
    size: int
    sha256: str
    url: str


class Response(Protocol):
    """``headers`` have lower-case names. ``chunks`` raises TransportError if the body breaks off."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def chunks(self) -> AsyncIterator[bytes]: ...


class Fetch(Protocol):
    """Sends a GET request without the API token, and follows redirects. Raises TransportError without a response."""

    def __call__(self, url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Response]: ...


async def save(
    files: Sequence[OutputFile],
    place: Place,
    fetch: Fetch,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    attempts: int = ATTEMPTS,
) -> list[SavedFile]:
    """Save the files into ``place`` (made if missing), four at a time, and list them in the given order.

    Every file is tried. If some files could not be saved, raises OutputExpiredError if their hosts have deleted all of
    these files, else OutputError (for example for a full disk). The error's message names one of these files, and its
    ``kept`` lists the saved files in the given order. A file gets its name only when it is complete, and no partial
    file remains.
    """
    try:
        await place.make()
    except OSError as error:
        raise OutputError(f"the folder {place} cannot be made: {error.strerror}") from error
    gate = asyncio.Semaphore(_TOGETHER)

    async def keep(file: OutputFile, stem: str) -> SavedFile:
        async with gate:
            return await _keep(file, place, place.part(stem), _Remote(fetch, sleep, attempts))

    # Even a cancelled gather waits for every download, so no temporary file remains.
    names = stems(file.position for file in files)
    ended = await asyncio.gather(*map(keep, files, names), return_exceptions=True)
    errors = [outcome for outcome in ended if isinstance(outcome, BaseException)]
    saved = [outcome for outcome in ended if isinstance(outcome, SavedFile)]
    if errors:
        raise _combined(errors, saved)
    return saved


def _combined(errors: Sequence[BaseException], saved: Sequence[SavedFile]) -> BaseException:
    """The error to raise: an unexpected error (a bug) if there is one, else an OutputError that names a failed file.

    An expired file is named only if all failed files have expired.
    """
    expected = [error for error in errors if isinstance(error, OutputError)]
    if len(expected) < len(errors):
        return next(error for error in errors if not isinstance(error, OutputError))
    first = next((error for error in expected if not isinstance(error, OutputExpiredError)), expected[0])
    combined = first
    if len(errors) > 1:
        combined = type(first)(f"{first} (and {len(errors) - 1} more)")
        combined.__cause__ = first
    combined.kept = tuple(saved)
    return combined


async def _keep(file: OutputFile, place: Place, part: Part, remote: _Remote) -> SavedFile:
    try:
        await part.open()
        if file.url[:5].lower() == "data:":
            part.url = file.url.partition(",")[0]
            await _decode(file.url, part)
        else:
            part.url = file.url
            await remote.download(file.url, part)
        path = await part.commit()
    except OSError as error:
        raise OutputError(f"{part.stem} cannot be written in {place}: {error.strerror or error}") from error
    finally:
        await part.discard()
    return SavedFile(path, part.size, part.sha256, part.url)


async def _decode(url: str, part: Part) -> None:
    """Fill the part from a data URL. The URL may be large, so a thread decodes it."""
    try:
        part.media_type, blocks = data_url.read_blocks(url)
        while (block := await in_thread(next, blocks, None)) is not None:
            await part.write(block)
    except ValueError as error:
        raise OutputError(f"{part.stem} cannot be read: {error}") from error


class _Remote:
    """Downloads over HTTP, with retries."""

    def __init__(self, fetch: Fetch, sleep: Callable[[float], Awaitable[object]], attempts: int) -> None:
        self._fetch, self._sleep, self._attempts = fetch, sleep, attempts

    async def download(self, url: str, part: Part) -> None:
        """Fill the part, and continue after each broken transfer.

        Only bytes beyond the furthest position so far count as progress. So a server that starts over each time and
        breaks off at the same position is given up too.
        """
        known, furthest, barren = Known(), 0, 0
        while True:
            reason, known, after = await self._attempt(url, part, known)
            if not reason:
                return
            barren = barren + 1 if part.size <= furthest else 0
            furthest = max(furthest, part.size)
            if barren >= self._attempts:
                raise OutputError(
                    f"{shown(url)} could not be fetched, {barren} requests without a new byte: {reason}; "
                    "try again before the file expires, an hour after the prediction ended"
                )
            await self._sleep(wait(barren, after))

    async def _attempt(self, url: str, part: Part, known: Known) -> tuple[str, Known, float | None]:
        """Send one request, and write the bytes of its response.

        Returns why the file is incomplete (empty if it is complete), what is known about the file, and the wait in
        seconds that the server asked for (None if it did not).
        """
        try:
            async with self._fetch(url, request_headers(part.size, known)) as response:
                verdict = judge(response.status, response.headers, part.size, known)
                match verdict.action:
                    case "expired":
                        raise OutputExpiredError(
                            f"{shown(url)} is gone ({verdict.reason}): outputs are deleted an hour after the end"
                        )
                    case "refused":
                        raise OutputError(f"{shown(url)} cannot be fetched: {verdict.reason}")
                    case "restart":
                        await part.restart()
                    case "again":
                        if verdict.anew:
                            await part.restart()
                        return verdict.reason, verdict.known, verdict.after
                known = verdict.known
                part.media_type = known.media_type
                if verdict.action != "done":
                    await _pour(response.chunks(), part)
        except CertificateError as error:  # another try would fail alike
            raise OutputError(f"{shown(url)} cannot be fetched: {error}") from None
        except TransportError as error:
            return str(error) or "the transfer broke", known, None
        reason, known = _whole(url, part, known, verdict)
        if reason and not known.validator:
            await part.restart()
        return reason, known, None


def _whole(url: str, part: Part, known: Known, verdict: Verdict) -> tuple[str, Known]:
    """Check a finished transfer. Returns why the bytes are not the file (empty if they are), and what stays known."""
    if verdict.end is not None and part.size > verdict.end:
        return f"{part.size} bytes came where {verdict.end} were announced", Known()
    if known.total is not None and part.size < known.total:
        return f"the transfer ended after {part.size} of {known.total} bytes", known
    if verdict.action == "append" and known.total is None:
        return "the server does not say whether that was all", known
    page = page_in_place_of(url, known.media_type, part.head)
    return page, Known() if page else known


async def _pour(chunks: AsyncIterator[bytes], part: Part) -> None:
    """Write the chunks in blocks.

    If the transfer breaks off, the bytes before are written too, because the next request continues after them.
    """
    block = bytearray()
    try:
        async for chunk in chunks:
            block += chunk
            if len(block) >= _BLOCK:
                full, block = block, bytearray()
                await part.write(full)
    except TransportError:
        await part.write(block)
        raise
    await part.write(block)


def wait(barren: int, after: float | None) -> float:
    """Seconds until the next request: the longer of the server's wait and a doubling backoff, at most half a minute."""
    return min(_LONGEST_WAIT, max(after or 0.0, 0.25 * 2.0**barren))
