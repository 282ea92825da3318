"""The account of a token. Each account lists its own predictions only: a list proves nothing about another's."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from replicate_job.api.client import Client
from replicate_job.errors import ReplicateJobError
from replicate_job.journal.protocol import Journal

GRACE = 1.0
"""Seconds that a session waits at its end for the answer of a request which is under way."""


class AccountNote:
    """Asks for the token's account once, beside the first create request, and writes it into the journal.

    Later may be too late: a token that was withdrawn gets no answer. ``is_needed``: the API knows accounts.
    """

    def __init__(self, api: str, client: Client, journal: Journal, *, is_needed: bool) -> None:
        self._api, self._client, self._journal = api, client, journal
        self._is_needed = is_needed
        self._work: asyncio.Task[str | None] | None = None

    def begin(self) -> None:
        """Begin to ask, unless that was done."""
        if self._is_needed and self._work is None:
            self._work = asyncio.create_task(self.find())

    async def find(self) -> str | None:
        """The account, from the journal or else from the API; None where neither knows it."""
        with suppress(ReplicateJobError):
            if known := await self._journal.account(self._api):
                return known
            account = (await self._client.get_account()).username
            await self._journal.note_account(self._api, account)
            return account
        return None

    async def close(self) -> None:
        if self._work:
            _, slow = await asyncio.wait([self._work], timeout=GRACE)
            for task in slow:
                task.cancel()
                await asyncio.wait([task])
