"""One job in a process that stops itself (SIGSTOP) at a given step, with a short lease.

``python slow_riser.py JOURNAL BUDGET PLACE``: the budget is in seconds.
PLACE is ``claimed`` (the journal has the claim, nothing else), ``intended``
(the intent is written, the create not sent), ``guarded`` (the lease was looked at, the first byte is next),
``answered`` (the API has answered, nothing of it is written), or ``nowhere``. The job's result goes to stdout.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.api.client import Client
from replicate_job.api.transport import Transport
from replicate_job.cli.output import LineReporter
from replicate_job.flow.account import AccountNote
from replicate_job.flow.context import Context, RetryPolicy
from replicate_job.flow.job_run import Ask
from replicate_job.flow.run import run_job
from replicate_job.flow.single_strategy import SingleStrategy
from replicate_job.job import Job
from replicate_job.journal import entry
from replicate_job.journal.sqlite import SQLiteJournal
from replicate_job.outputs.http import HttpFetch
from replicate_job.outputs.reach import Reach

if TYPE_CHECKING:
    from replicate_job.api.transport import Guard
    from replicate_job.clock import Moment
    from replicate_job.journal.entry import Claim, CreateRequest
    from replicate_job.wire.prediction import Prediction

LEASE = 0.5
entry.LONGEST_REQUEST = 1.0  # a process that takes over waits for this second, and not for 110
PLACE = sys.argv[3]


def stop(place: str) -> None:
    global PLACE  # noqa: PLW0603 - once in a life
    if place == PLACE:
        PLACE = "nowhere"
        os.kill(os.getpid(), signal.SIGSTOP)


class StoppingJournal(SQLiteJournal):
    async def claim(self, *args: Any, **options: Any) -> Claim:
        claim = await super().claim(*args, **options)
        stop("claimed")
        return claim

    async def intend(self, claim: Claim, request: CreateRequest, sent: Moment) -> Claim:
        intended = await super().intend(claim, request, sent)
        stop("intended")
        return intended


class StoppingClient(Client):
    async def create_prediction(self, *args: Any, guard: Guard | None = None, **options: Any) -> Prediction:
        def guarded() -> None:
            if guard:
                guard()
            stop("guarded")

        prediction = await super().create_prediction(*args, guard=guarded, **options)
        stop("answered")
        return prediction


async def main() -> None:
    journal = StoppingJournal(Path(sys.argv[1]), lease=LEASE)
    transport = Transport(os.environ["REPLICATE_BASE_URL"], os.environ["REPLICATE_API_TOKEN"], user_agent="test")
    async with transport, journal, HttpFetch(Reach(transport.base_url)) as fetch:
        client = StoppingClient(transport)
        context = Context(
            api=transport.base_url,
            client=client,
            account=AccountNote(transport.base_url, client, journal, is_needed=False),
            strategy=SingleStrategy(),
            journal=journal,
            fetch=fetch,
            reporter=LineReporter(),
            cache=Path(sys.argv[1]).parent,
            retry_policy=RetryPolicy(settle=0.5, overtaken=3600),
        )
        job = Job("replicate/hello-world", {"text": "x"}, poll_interval=float(sys.argv[2]) / 100, max_poll_attempts=100)
        result = await run_job(context, Ask(job, "k"))
    sys.stdout.buffer.write(msgspec.json.encode(result.to_dict()) + b"\n")


if __name__ == "__main__":
    asyncio.run(main())
