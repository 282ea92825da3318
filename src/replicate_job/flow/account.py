"""The account that a token belongs to. An account's list shows only its own predictions, never another account's."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from replicate_job.api.client import Client
from replicate_job.errors import ReplicateJobError
from replicate_job.journal.protocol import Journal

GRACE = 1.0
"""Seconds that a closing session waits for the account request if it is still under way."""


class AccountNote:
    """Asks the API one time which account the token belongs to, and writes the account into the journal.

    The account request is sent together with the first create request, since a token that is revoked later gets no
    answer. ``is_needed`` is False for an API without accounts, such as the local server.
    """

    def __init__(self, api: str, client: Client, journal: Journal, *, is_needed: bool) -> None:
        self._api, self._client, self._journal = api, client, journal
        self._is_needed = is_needed
        self._work: asyncio.Task[str | None] | None = None

    def begin(self) -> None:
        """Start the request in the background, unless it was started before."""
        if self._is_needed and self._work is None:
            self._work = asyncio.create_task(self.find())

    async def find(self) -> str | None:
        """Return the account's name as ``ask`` does. None if ``ask`` fails."""
        with suppress(ReplicateJobError):
            return await self.ask()
        return None

    async def ask(self) -> str:
        """Return the account's name from the journal, or else from the API. Raises the errors of both."""
        if known := await self._journal.account(self._api):
            return known
        account = (await self._client.get_account()).username
        await self._journal.note_account(self._api, account)
        return account

    async def close(self) -> None:
        if self._work and not self._work.done():
            _, slow = await asyncio.wait([self._work], timeout=GRACE)
            for task in slow:
                task.cancel()
                await asyncio.wait([task])
