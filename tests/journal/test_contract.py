"""The rules for a journal in any database: its data, the claims that may write them, and the job of each prediction."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.journal.conftest import FilePlace

from replicate_job.clock import Moment
from replicate_job.database import DatabaseURL
from replicate_job.errors import ClaimLostError, JobError, JobHeldError, JournalError, KeyInUseError
from replicate_job.inputs.upload import FileInfo
from replicate_job.job import Job
from replicate_job.journal import sql
from replicate_job.journal.entry import LONGEST_REQUEST, Adoption, BatchEntry, Claim, CreateRequest, Pruned
from replicate_job.journal.fingerprints import print_job
from replicate_job.journal.lease import Process
from replicate_job.journal.postgres import migrate_database
from replicate_job.journal.sql import SQLJournal
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target

if TYPE_CHECKING:
    from tests.journal.conftest import Place

API = "https://api.example.com/v1"

JOB = Job("acme/model", {"prompt": "x"})

REQUEST = CreateRequest(Target("model", "acme", "model"), "/models/acme/model/predictions", b'{"input":{"prompt":"x"}}')

OTHER = msgspec.structs.replace(REQUEST, body=b'{"input":{"prompt":"y"}}')

SENT = Moment(1_000_000.0, "this boot", 1_000_000.0)


@pytest.fixture
async def journal(place: Place, now: Any) -> AsyncIterator[SQLJournal]:
    async with place.open(clock=now) as journal:
        yield journal


class Still:
    """A clock that stands still."""

    boot = "this boot"

    def now(self) -> float:
        return 1_000_000.0

    def time(self) -> float:
        return 1_000_000.0

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def moment(now: Any) -> Moment:
    return Moment(now.time(), now.boot, now.now())


async def claim(journal: SQLJournal, key: str = "job", job: Job = JOB) -> Claim:
    return await journal.claim(key, API, job, "/out")


async def intended(journal: SQLJournal, key: str, request: CreateRequest = REQUEST) -> Claim:
    return await journal.intend(await claim(journal, key), request, SENT)


async def test_each_state_of_a_job_is_recorded_with_its_data(journal: SQLJournal, now: Any, place: Place) -> None:
    held = await claim(journal)
    assert (held.entry.state, held.entry.job, held.entry.save, held.entry.sends) == ("claimed", JOB, "/out", 0)
    now.seconds += 1
    first = moment(now)
    entry = (await journal.intend(held, REQUEST, first)).entry
    assert (entry.state, entry.request, entry.sends, entry.first_sent, entry.last_sent) == (
        "intended", REQUEST, 1, first, first,
    )  # fmt: skip
    now.seconds += 5
    entry = (await journal.intend(held, REQUEST, moment(now))).entry
    assert (entry.sends, entry.first_sent, entry.last_sent) == (2, first, moment(now))
    prediction = Prediction("p1", "processing", model="acme/model", input={"prompt": "x"})
    assert await journal.created(held, prediction) == "p1"
    end = msgspec.structs.replace(prediction, status="succeeded", output=["x"])
    await journal.ended(held, end)
    assert [entry.state for entry in await journal.unfinished(API)] == ["ended"]
    await journal.collected(held, end, [Path("/out/a.png")], "b.png is gone")
    await journal.release(held)
    async with place.open() as again:
        found = await again.find("p1", API)
        assert found == await again.get("job") == (await again.entries())[0]
        assert await again.unfinished(API) == []
    assert found
    assert (found.state, found.prediction, found.files, found.problem) == (
        "collected", end, (Path("/out/a.png"),), "b.png is gone",
    )  # fmt: skip


async def test_the_claim_of_a_job_records_its_step_of_the_chain(journal: SQLJournal, place: Place) -> None:
    await journal.claim("a/b/draw", API, JOB, None, chain_step="draw")
    await claim(journal, "a/b")
    async with place.open() as again:
        found = await again.look_up(["a/b/draw", "a/b"])
        steps = await again.steps_of("a/b")
        assert await again.steps_of("a") == await again.steps_of("a/b/draw") == []
    assert {key: entry.chain_step for key, entry in found.items()} == {"a/b/draw": "draw", "a/b": None}
    assert steps == [found["a/b/draw"]]


async def test_jobs_are_listed_in_order_and_by_api(journal: SQLJournal) -> None:
    for key in ("a", "b", "c"):
        await claim(journal, key)
    await journal.claim("d", "local", JOB, None)
    assert [entry.key for entry in await journal.entries()] == ["d", "c", "b", "a"]
    assert [entry.key for entry in await journal.entries(2)] == ["d", "c"]
    assert [entry.key for entry in await journal.unfinished(API)] == ["a", "b", "c"]
    assert await journal.get("e") is None
    assert await journal.find("p", API) is None


async def test_jobs_are_counted_by_batch_state_and_status(journal: SQLJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "COUNTED", 2)  # few rows for each statement
    assert await journal.counts() == []
    batches = {"a": None, "b": None, "b1/1": "b1", "b1/2": "b1", "b1/3": "b1"}
    claims = {key: await journal.claim(key, API, JOB, None, batch=batch) for key, batch in batches.items()}
    for key, status in (("b1/1", "succeeded"), ("b1/2", "failed"), ("b", "succeeded")):
        held = await journal.intend(claims[key], REQUEST, SENT)
        await journal.created(held, Prediction(f"p-{key}", status), collected=True)
    assert {(each.batch, each.state, each.status): each.number for each in await journal.counts()} == {
        (None, "claimed", ""): 1,
        (None, "collected", "succeeded"): 1,
        ("b1", "claimed", ""): 1,
        ("b1", "collected", "succeeded"): 1,
        ("b1", "collected", "failed"): 1,
    }


FACTS: dict[str, Callable[[SQLJournal, Claim], Any]] = {
    "intend": lambda journal, held: journal.intend(held, REQUEST, SENT),
    "unsent": lambda journal, held: journal.unsent(held),
    "adopt": lambda journal, held: journal.adopt(held, ["p1"]),
    "ended": lambda journal, held: journal.ended(held, Prediction("p1", "succeeded")),
    "collected": lambda journal, held: journal.collected(held, Prediction("p1", "succeeded")),
    "refused": lambda journal, held: journal.refused(held, "no"),
    "uncertain": lambda journal, held: journal.uncertain(held, "who knows"),
}


@pytest.mark.parametrize("fact", FACTS)
async def test_a_write_with_an_older_claim_is_refused_and_changes_nothing(
    journal: SQLJournal, now: Any, fact: str
) -> None:
    older = await intended(journal, "job")
    now.seconds += journal.lease
    newer = await claim(journal)
    assert newer.fence > older.fence
    before = await journal.get("job")
    with pytest.raises(ClaimLostError, match="another process has taken over the job 'job'"):
        await FACTS[fact](journal, older)
    assert await journal.get("job") == before
    await FACTS[fact](journal, newer)


async def test_releasing_a_lost_claim_does_not_release_the_new_one(journal: SQLJournal, now: Any) -> None:
    older = await claim(journal)
    now.seconds += journal.lease
    await claim(journal)
    await journal.release(older)
    with pytest.raises(JobHeldError):
        await claim(journal)


async def test_a_claim_is_held_as_long_as_its_lease_is_renewed(journal: SQLJournal, now: Any) -> None:
    held = await claim(journal)
    now.seconds += journal.lease - 1
    with pytest.raises(JobHeldError) as caught:
        await claim(journal)
    assert caught.value.until == pytest.approx(now() + 1, abs=0.5)
    await journal.renew()
    now.seconds += journal.lease - 1
    with pytest.raises(JobHeldError):
        await claim(journal)
    now.seconds += 1
    assert (await claim(journal)).fence == held.fence + 1


async def test_a_job_can_be_claimed_as_soon_as_it_is_released(journal: SQLJournal) -> None:
    await journal.release(await claim(journal))
    await claim(journal)


async def test_the_claim_of_another_machine_is_valid_until_its_lease_ends(
    journal: SQLJournal, now: Any, monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere with a space")
    async with place.open(clock=now) as elsewhere:
        await claim(elsewhere)
    with pytest.raises(JobHeldError, match="elsewhere"):
        await claim(journal)
    now.seconds += journal.lease
    await claim(journal)


async def test_a_key_belongs_to_one_job_and_its_waiting_options_may_differ(journal: SQLJournal) -> None:
    await journal.release(await claim(journal))
    same = Job("acme/model", {"prompt": "x"}, wait_for_completion=False, poll_interval=9, title="Other")
    await journal.release(await claim(journal, job=same))
    for other in (Job("acme/model", {"prompt": "y"}), Job("acme/other", {"prompt": "x"})):
        with pytest.raises(KeyInUseError, match="belongs to another job"):
            await claim(journal, job=other)
    with pytest.raises(KeyInUseError, match="belongs to a job at"):
        await journal.claim("job", "local", JOB, None)


async def test_the_key_of_a_refused_job_can_be_used_for_another_job(journal: SQLJournal) -> None:
    await journal.refused(await intended(journal, "job"), "out of credit")
    entry = (await claim(journal, job=Job("acme/other"))).entry
    assert (entry.state, entry.job.model, entry.sends, entry.request, entry.problem) == (
        "claimed", "acme/other", 0, None, "",
    )  # fmt: skip


async def test_a_finished_job_can_be_claimed_while_another_claim_is_held(journal: SQLJournal) -> None:
    held = await intended(journal, "job")
    await journal.created(held, Prediction("p1", "succeeded"))
    await journal.ended(held, Prediction("p1", "succeeded"))
    await journal.collected(held, Prediction("p1", "succeeded"))
    assert (await claim(journal)).entry.state == "collected"


async def test_a_later_prediction_id_does_not_replace_the_first_one_of_a_job(journal: SQLJournal, now: Any) -> None:
    older = await intended(journal, "job")
    now.seconds += journal.lease
    newer = await claim(journal)
    assert await journal.created(newer, Prediction("p1", "starting")) == "p1"
    assert await journal.created(older, Prediction("p2", "starting")) == "p1"
    assert await journal.created(newer, Prediction("p1", "starting")) == "p1"
    entry = (await journal.intend(newer, REQUEST, SENT)).entry
    assert (entry.prediction_id, entry.state, entry.sends) == ("p1", "created", 1)
    assert await journal.find("p2", API) is None


async def test_a_lost_claim_can_record_the_first_prediction_id_of_its_job(journal: SQLJournal, now: Any) -> None:
    older = await intended(journal, "job")
    now.seconds += journal.lease
    newer = await claim(journal)
    assert await journal.created(older, Prediction("p1", "starting")) == "p1"
    assert (await journal.intend(newer, REQUEST, SENT)).entry.prediction_id == "p1"


async def test_a_lost_claim_cannot_record_its_prediction_id_for_a_new_job_with_the_same_key(
    journal: SQLJournal, now: Any
) -> None:
    older = await intended(journal, "job")
    now.seconds += journal.lease
    await journal.refused(await claim(journal), "interrupted")
    await claim(journal, job=Job("acme/other"))
    with pytest.raises(ClaimLostError, match="given to another job"):
        await journal.created(older, Prediction("p1", "starting"))
    entry = await journal.get("job")
    assert entry
    assert entry.prediction_id is None


async def test_a_prediction_cannot_belong_to_two_jobs_of_an_api(journal: SQLJournal) -> None:
    assert await journal.created(await intended(journal, "one"), Prediction("p1", "starting")) == "p1"
    other = await intended(journal, "two")
    assert await journal.created(other, Prediction("p1", "starting")) == ""
    local = await journal.claim("three", "local", JOB, None)
    assert await journal.created(local, Prediction("p1", "starting")) == "p1"


async def test_writing_the_end_of_a_job_records_a_prediction_id_that_was_not_recorded_before(
    journal: SQLJournal,
) -> None:
    """The journal may have failed when the prediction was created, and work again at its end."""
    held = await intended(journal, "one")
    await journal.ended(held, Prediction("p1", "succeeded"))
    found = await journal.find("p1", API)
    assert found
    assert found.prediction_id == "p1"
    other = await intended(journal, "two")
    assert await journal.adopt(other, ["p1"]) == Adoption()


async def test_of_several_matching_predictions_the_oldest_one_without_a_job_is_adopted(journal: SQLJournal) -> None:
    await journal.created(await intended(journal, "one"), Prediction("p1", "starting"))
    two, three = await intended(journal, "two"), await intended(journal, "three")
    assert await journal.adopt(two, ["p1"]) == Adoption()
    assert await journal.adopt(two, ["p1", "p2", "p3"]) == Adoption("p2")
    assert await journal.adopt(two, ["p3"]) == Adoption("p2")
    assert await journal.adopt(three, ["p1", "p2", "p3"]) == Adoption("p3")
    entry = await journal.get("three")
    assert entry
    assert (entry.state, entry.prediction_id) == ("created", "p3")


async def test_a_rival_job_counts_by_the_end_of_its_unanswered_request_after_it_has_adopted_a_prediction(
    journal: SQLJournal, now: Any
) -> None:
    """A rival that got an answer has its own prediction. One without a prediction has adopted none."""
    await journal.created(await intended(journal, "answered"), Prediction("p0", "starting"))
    one, two = await intended(journal, "one"), await intended(journal, "two")
    assert await journal.adopt(one, []) == Adoption()
    now.seconds += 30
    first = moment(now)
    assert await journal.adopt(two, [], unanswered=first) == Adoption()
    assert await journal.adopt(one, []) == Adoption()
    now.seconds += 30
    assert await journal.adopt(two, ["p1"], unanswered=moment(now)) == Adoption("p1")
    assert await journal.adopt(one, ["p1"]) == Adoption(rivals_unanswered=(first,))
    three = await intended(journal, "three")
    await journal.adopt(three, ["p1"], unanswered=first)
    three = await journal.intend(three, REQUEST, moment(now))
    await journal.created(three, Prediction("p3", "starting"))
    assert await journal.adopt(one, ["p1", "p3"]) == Adoption(rivals_unanswered=(first,))


async def test_of_many_rival_jobs_those_whose_requests_ended_last_count(journal: SQLJournal, now: Any) -> None:
    """A request that was sent first can be the last to end, as a slow one does."""
    one, slow = await intended(journal, "one"), await intended(journal, "slow")
    last = msgspec.structs.replace(moment(now), wall=now.time() + 95, since=now.now() + 95)
    assert await journal.adopt(slow, ["slow"], unanswered=last) == Adoption("slow")
    for number in range(120):
        now.seconds += 0.1
        quick = await journal.intend(await claim(journal, f"quick {number}"), REQUEST, moment(now))
        await journal.adopt(quick, [f"p{number}"], unanswered=moment(now))
    assert last in (await journal.adopt(one, [])).rivals_unanswered


async def test_matching_predictions_are_unclear_if_there_are_more_of_them_than_waiting_jobs(
    journal: SQLJournal,
) -> None:
    one = await intended(journal, "one")
    await intended(journal, "different", OTHER)
    assert await journal.adopt(one, ["p1", "p2"]) == Adoption(unclear=("p1", "p2"))
    await intended(journal, "same")
    assert await journal.adopt(one, ["p1", "p2"]) == Adoption("p1")


async def test_a_job_whose_request_was_not_sent_does_not_count_as_a_rival(journal: SQLJournal) -> None:
    one, throttled, ended = [await intended(journal, key) for key in ("one", "throttled", "refused")]
    await journal.unsent(throttled)
    await journal.refused(ended, "out of credit")
    assert await journal.adopt(one, ["p1", "p2"]) == Adoption(unclear=("p1", "p2"))


async def test_a_job_of_long_ago_does_not_count_as_a_rival(journal: SQLJournal, now: Any) -> None:
    await intended(journal, "old")
    now.seconds += 600
    one = await claim(journal, "one")
    await journal.intend(one, REQUEST, moment(now))
    assert await journal.adopt(one, ["p1", "p2"]) == Adoption(unclear=("p1", "p2"))


async def test_the_recorded_time_of_the_first_request_is_that_of_the_first_one_that_may_have_been_sent(
    journal: SQLJournal, now: Any
) -> None:
    one, first = await claim(journal, "one"), moment(now)
    await journal.unsent(await journal.intend(one, REQUEST, first))
    await journal.unsent(one)  # as when a process ends while another one looks it up
    now.seconds += 400
    second = moment(now)
    await journal.intend(one, REQUEST, second)
    now.seconds += 400
    again = await journal.intend(one, REQUEST, moment(now))
    assert (again.entry.sends, again.entry.first_sent) == (2, second)
    assert await journal.get("one") == again.entry


async def test_almost_matching_predictions_are_never_adopted(journal: SQLJournal) -> None:
    await journal.created(await intended(journal, "other"), Prediction("d1", "starting"))
    one = await intended(journal, "one")
    assert await journal.adopt(one, [], ["d1", "d2"]) == Adoption(unclear=("d2",))
    assert await journal.adopt(one, [], ["d1"]) == Adoption()
    assert await journal.adopt(one, ["p1"], ["d2"]) == Adoption("p1")


async def test_uploads_are_remembered_by_content_until_they_expire(journal: SQLJournal, now: Any) -> None:
    until = journal.time() + 60  # the database's clock may differ from the test's
    assert await journal.find_upload(API, "aa") is None
    await journal.remember_upload(API, "aa", FileInfo("https://files/aa", until))
    await journal.remember_upload(API, "bb", FileInfo("https://files/bb"))
    assert await journal.find_upload(API, "aa") == FileInfo("https://files/aa", until)
    assert await journal.find_upload("local", "aa") is None
    now.seconds += 61
    await journal.remember_upload(API, "bb", FileInfo("https://files/b2"))
    assert await journal.find_upload(API, "aa") is None
    assert await journal.find_upload(API, "bb") == FileInfo("https://files/b2")


async def test_two_processes_can_write_to_one_journal(journal: SQLJournal, place: Place, now: Any) -> None:
    async with place.open(clock=now) as other:
        claims = await asyncio.gather(
            *(claim(journal if number % 2 else other, f"job-{number}") for number in range(40))
        )
    assert len({held.key for held in claims}) == len(await journal.entries()) == 40


async def test_a_new_job_can_be_claimed_together_with_the_intent_of_its_create_request(
    journal: SQLJournal, now: Any
) -> None:
    held = await journal.claim("b/1", API, JOB, None, request=REQUEST, sent=SENT, batch="b")
    assert held.intends
    entry = await journal.get("b/1")
    assert entry == held.entry
    assert entry
    assert (entry.state, entry.request, entry.sends, entry.first_sent, entry.last_sent, entry.batch) == (
        "intended", REQUEST, 1, SENT, SENT, "b",
    )  # fmt: skip
    now.seconds += 3
    again = (await journal.intend(held, REQUEST, moment(now))).entry
    assert (again.sends, again.first_sent, again.last_sent) == (2, SENT, moment(now))


async def test_a_claim_on_a_known_job_does_not_record_the_intent_of_its_create_request_again(
    journal: SQLJournal,
) -> None:
    held = await journal.claim("b/1", API, JOB, None, request=REQUEST, sent=SENT)
    await journal.release(held)
    again = await journal.claim("b/1", API, JOB, None, request=OTHER, sent=SENT)
    assert not again.intends
    assert (again.entry.state, again.entry.request, again.entry.sends) == ("intended", REQUEST, 1)
    await journal.created(again, Prediction("p1", "succeeded"), collected=True)
    assert not (await journal.claim("b/1", API, JOB, None, request=REQUEST, sent=SENT)).intends


async def test_a_refused_job_can_be_claimed_as_new_and_its_older_claim_is_lost(journal: SQLJournal) -> None:
    first = await journal.claim("b/1", API, JOB, None, request=REQUEST, sent=SENT)
    await journal.refused(first, "no credit")
    second = await journal.claim("b/1", API, JOB, None, request=OTHER, sent=SENT)
    assert second.intends
    assert second.fence > first.fence
    assert (second.entry.request, second.entry.sends, second.entry.problem) == (OTHER, 1, "")
    with pytest.raises(ClaimLostError):
        await journal.ended(first, Prediction("p1", "succeeded"))


async def test_a_job_claimed_together_with_its_create_request_is_a_rival_of_an_equal_job(journal: SQLJournal) -> None:
    first = await journal.claim("b/1", API, JOB, None, request=REQUEST, sent=SENT)
    assert await journal.adopt(first, ["p1", "p2"]) == Adoption(unclear=("p1", "p2"))
    await journal.claim("b/2", API, JOB, None, request=REQUEST, sent=SENT)
    assert await journal.adopt(first, ["p1", "p2"]) == Adoption("p1")


@pytest.mark.parametrize(
    ("status", "collected", "state"),
    [
        ("starting", False, "created"),
        ("succeeded", False, "ended"),
        ("failed", False, "ended"),
        ("succeeded", True, "collected"),
    ],
)
async def test_the_state_after_a_create_request_follows_from_its_answer(
    journal: SQLJournal, place: Place, status: str, *, collected: bool, state: str
) -> None:
    held = await journal.claim("b/1", API, JOB, None, request=REQUEST, sent=SENT)
    prediction = Prediction("p1", status, output="x")
    assert await journal.created(held, prediction, collected=collected) == "p1"
    entry = await journal.get("b/1")
    assert entry
    assert (entry.state, entry.prediction_id, entry.prediction) == (state, "p1", prediction)
    async with place.open(clock=Still()) as other:
        if collected:  # the job is finished, so a new claim need not wait for the old one
            assert (await other.claim("b/1", API, JOB, None)).entry.state == "collected"
        else:
            with pytest.raises(JobHeldError):
                await other.claim("b/1", API, JOB, None)


async def test_a_lost_claim_can_record_its_prediction_but_not_finish_the_job(journal: SQLJournal, now: Any) -> None:
    older = await journal.claim("b/1", API, JOB, None, request=REQUEST, sent=SENT)
    now.seconds += journal.lease
    newer = await journal.claim("b/1", API, JOB, None)
    assert await journal.created(older, Prediction("p1", "succeeded"), collected=True) == "p1"
    entry = await journal.get("b/1")
    assert entry
    assert entry.state == "ended"
    assert await journal.created(newer, Prediction("p2", "succeeded"), collected=True) == "p1"
    with pytest.raises(JobHeldError):
        await journal.claim("b/1", API, JOB, None)


async def test_a_look_up_of_many_keys_leaves_out_unknown_ones(journal: SQLJournal) -> None:
    keys = [f"b/{number}" for number in range(1200)]
    await asyncio.gather(*(claim(journal, key) for key in keys[::3]))
    found = await journal.look_up(keys)
    assert found.keys() == set(keys[::3])
    assert all(entry.key == key for key, entry in found.items())
    assert await journal.look_up([]) == {}
    assert await journal.look_up(["b/0", "b/0"]) == {"b/0": found["b/0"]}


async def test_the_api_of_a_key_with_a_given_beginning_is_found(journal: SQLJournal) -> None:
    assert await journal.api_of("b") is None
    for key in ("a/1", "bc/1", "b%/2", "ü/1"):
        await claim(journal, key)
    starts = {"b": True, "bc/": True, "b/": False, "b%": True, "b_": False, "a/1": True, "a/12": False, "ü": True}
    assert {start: await journal.api_of(start) == API for start in starts} == starts


async def test_setting_the_wall_clock_ends_no_lease_of_this_boot(journal: SQLJournal, now: Any, place: Place) -> None:
    await claim(journal)
    now.set_by = 3600.0
    async with place.open(clock=now) as other:
        with pytest.raises(JobHeldError):
            await claim(other)


async def test_a_lapsed_lease_does_not_allow_a_create_request_even_after_a_renewal(
    journal: SQLJournal, now: Any
) -> None:
    """A process that was stopped renews its lease when it continues, but another process may have its job by then."""
    held = await intended(journal, "job")
    assert held.lease.may_send
    now.seconds += journal.lease
    await journal.renew()
    assert not held.lease.may_send
    assert (await journal.intend(held, REQUEST, SENT)).lease.may_send


async def test_a_claim_is_held_even_if_other_work_in_its_first_transaction_fails(
    journal: SQLJournal, place: Place, now: Any
) -> None:
    """The transaction is rolled back and repeated. The lease that it wrote at first is lost."""
    other = msgspec.structs.replace(JOB, input_data={"prompt": "y"})
    both = await asyncio.gather(claim(journal), claim(journal, job=other), return_exceptions=True)
    held, failed = both if isinstance(both[0], Claim) else reversed(both)  # a database may run either one first
    assert isinstance(held, Claim)
    assert isinstance(failed, KeyInUseError)
    assert held.lease.may_send
    async with place.open(clock=now) as second:
        with pytest.raises(JobHeldError):
            await claim(second, job=held.entry.job)


async def test_a_lease_written_by_failed_work_does_not_count(journal: SQLJournal, place: Place, now: Any) -> None:
    """The process's first work writes a lease and then fails. The next work has to write the lease again."""
    async with place.open(clock=now) as first:
        held = await claim(first)
        await first.release(held)
        with pytest.raises(ClaimLostError):
            await journal.intend(msgspec.structs.replace(held, fence=7), REQUEST, SENT)
    await claim(journal)
    async with place.open(clock=now) as second:
        with pytest.raises(JobHeldError):
            await claim(second)


@pytest.mark.parametrize("moved", ["seconds", "set_by"])
async def test_a_lease_that_is_nearly_over_by_either_clock_does_not_allow_a_create_request(
    journal: SQLJournal, now: Any, moved: str
) -> None:
    held = await intended(journal, "job")
    setattr(now, moved, getattr(now, moved) + journal.lease - 5)
    assert not held.lease.may_send


async def test_writing_a_later_state_also_records_an_earlier_state_that_was_not_written(journal: SQLJournal) -> None:
    end = Prediction("p1", "succeeded", output="x")
    for key, fact in {"one": journal.ended, "two": journal.collected}.items():
        prediction = msgspec.structs.replace(end, id=key)
        await fact(await intended(journal, key), prediction)
        entry = await journal.get(key)
        assert entry
        assert (entry.prediction_id, entry.status, entry.prediction) == (key, "succeeded", prediction)


async def test_a_job_with_a_prediction_cannot_become_refused_or_uncertain(journal: SQLJournal) -> None:
    held = await intended(journal, "job")
    await journal.created(held, Prediction("p1", "starting"))
    for fact in (journal.refused(held, "no"), journal.uncertain(held, "perhaps"), journal.unsent(held)):
        with pytest.raises(ClaimLostError, match="has the prediction p1"):
            await fact


async def test_a_job_cannot_be_finished_with_another_jobs_prediction(journal: SQLJournal) -> None:
    await journal.created(await intended(journal, "one"), Prediction("p1", "starting"))
    with pytest.raises(JournalError, match="p1 is the prediction of another job"):
        await journal.ended(await intended(journal, "two"), Prediction("p1", "succeeded"))


async def test_rivals_that_look_the_same_in_the_list_make_a_match_unclear(journal: SQLJournal) -> None:
    one, other = (
        msgspec.structs.replace(REQUEST, body=b'{"input":{"prompt":"x","key":"%s"}}' % key, secrets=("key",))
        for key in (b"a", b"b")
    )
    held = await intended(journal, "one", one)
    await intended(journal, "two", other)
    assert await journal.adopt(held, ["p1"]) == Adoption(unclear=("p1",))
    await journal.adopt(await intended(journal, "three", OTHER), ["p2"])


async def test_only_a_keyed_hash_of_the_token_is_stored(place: Place, now: Any) -> None:
    async with place.open(clock=now, token="r8_secret") as journal:  # noqa: S106 - not a real token
        held = await intended(journal, "job")
        assert journal.uses_token(held.entry) or journal.uses_token(await journal.get("job"))  # type: ignore[arg-type]
        await journal.note_account(API, "alice")
    async with place.open(clock=now, token="r8_other") as other:  # noqa: S106 - not a real token
        entry = await other.get("job")
        assert entry
        assert not other.uses_token(entry)
        assert await other.account(API, entry.token) == "alice"
        assert await other.account(API) is None
    assert "r8_secret" not in place.dump()


async def finished(journal: SQLJournal, key: str = "job", job: Job = JOB) -> None:
    taken = await claim(journal, key, job)
    done = Prediction(id=f"id-{key}", status="succeeded", output="secret output")
    await journal.created(taken, done)
    await journal.collected(taken, done, [Path("/kept/secret.png")])


async def test_a_forgotten_job_keeps_its_key_and_its_prediction_id_and_its_status(
    journal: SQLJournal, place: Place
) -> None:
    await finished(journal)
    await journal.forget("job")
    assert await journal.entries() == []
    entry = await journal.get("job")
    assert entry
    assert (entry.prediction_id, entry.status, entry.state, entry.step) == ("id-job", "succeeded", "collected", "done")
    assert (entry.job, entry.prediction, entry.request, entry.files) == (Job("acme/model"), None, None, ())
    assert "secret" not in place.dump()


async def test_the_key_of_a_forgotten_job_still_belongs_to_the_same_job(journal: SQLJournal) -> None:
    await finished(journal)
    await journal.forget("job")
    with pytest.raises(KeyInUseError):
        await claim(journal, "job", Job("acme/model", {"prompt": "y"}))
    assert (await claim(journal, "job")).entry.prediction_id == "id-job"


async def test_an_unfinished_job_cannot_be_forgotten_and_a_refused_one_is_deleted(journal: SQLJournal) -> None:
    with pytest.raises(JobError, match="there is no job 'job'"):
        await journal.forget("job")
    taken = await claim(journal)
    with pytest.raises(JobError, match="'job' is claimed"):
        await journal.forget("job")
    await journal.refused(taken, "no")
    await journal.forget("job")
    assert await journal.get("job") is None


async def test_a_row_of_a_batch_cannot_be_forgotten(journal: SQLJournal) -> None:
    taken = await journal.claim("b/1", API, JOB, None, batch="b")
    done = Prediction(id="p", status="succeeded")
    await journal.created(taken, done)
    await journal.collected(taken, done)
    with pytest.raises(JobError, match="is a row of the batch b"):
        await journal.forget("b/1")


async def test_closing_a_journal_removes_its_row_of_holders(place: Place, now: Any) -> None:
    done = Prediction(id="p", status="succeeded")
    async with place.open(clock=now) as journal:
        await journal.collected(await claim(journal, "collected"), done)
        await claim(journal, "collected")  # a claim that only reads the result
        await journal.created(await claim(journal, "at once"), msgspec.structs.replace(done, id="q"), collected=True)
        await journal.release(await claim(journal, "released"))
        assert len(place.holders()) == 1
    assert place.holders() == []


async def test_a_claim_that_was_never_released_is_valid_until_its_lease_ends(place: Place, now: Any) -> None:
    """That holds even after an earlier claim on the same job."""
    async with place.open(clock=now) as journal:
        older = await claim(journal)
        now.seconds += journal.lease
        await claim(journal)
        await journal.release(older)
    async with place.open(clock=now) as other:
        with pytest.raises(JobHeldError):
            await claim(other)
        now.seconds += journal.lease
        await claim(other)


async def test_the_state_of_a_rate_limit_is_swapped_only_if_it_is_unchanged(place: Place, now: Any) -> None:
    """Each account, API and kind of request has its own state."""
    async with place.open(clock=now, token="a") as journal, place.open(clock=now, token="a") as other:  # noqa: S106 - not a real token
        assert await journal.swap_rate(API, "create", "", "1") is None
        assert await other.swap_rate(API, "create", "", "2") == "1"
        assert await other.swap_rate(API, "create", "1", "2") is None
        assert await journal.swap_rate(API, "create", "1", "3") == "2"
        assert await journal.swap_rate(API, "other", "1", "3") == ""
        assert await journal.swap_rate("https://other.example.com/v1", "create", "", "1") is None
    async with place.open(clock=now, token="b") as stranger:  # noqa: S106 - not a real token
        assert await stranger.swap_rate(API, "create", "", "1") is None


async def test_of_many_tasks_that_claim_a_job_at_the_same_time_one_gets_it(place: Place) -> None:
    keys = [f"job-{number}" for number in range(20)]
    async with AsyncExitStack() as stack:
        journals = [await stack.enter_async_context(place.open()) for _ in range(3)]
        claims = [claim(journal, key) for key in keys for journal in journals]
        results = await asyncio.gather(*claims, return_exceptions=True)
        assert sorted(result.key for result in results if isinstance(result, Claim)) == sorted(keys)
        assert {type(result) for result in results} == {Claim, JobHeldError}


RACER = """
import asyncio, sys
from pathlib import Path
from replicate_job.database import DatabaseURL
from replicate_job.errors import JobHeldError
from replicate_job.job import Job
from replicate_job.journal.open import open_journal
async def main():
    place = sys.argv[1]
    async with open_journal(DatabaseURL(place) if DatabaseURL.matches(place) else Path(place)) as journal:
        await journal.entries()
        print("ready", flush=True)
        sys.stdin.readline()
        claims = [journal.claim(f"job-{number}", "api", Job("acme/model"), None) for number in range(30)]
        results = await asyncio.gather(*claims, return_exceptions=True)
        print(*(number for number, result in enumerate(results) if not isinstance(result, JobHeldError)), flush=True)
        sys.stdin.readline()
asyncio.run(main())
"""


@pytest.mark.long
async def test_of_many_processes_that_claim_a_job_at_the_same_time_one_gets_it(place: Place) -> None:
    async with place.open() as journal:
        await journal.entries()
        command = [sys.executable, "-c", RACER, place.address]
        pipe = asyncio.subprocess.PIPE
        racers = [await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe) for _ in range(3)]

        async def say(racer: asyncio.subprocess.Process) -> bytes:
            assert racer.stdin
            assert racer.stdout
            racer.stdin.write(b"\n")
            return await racer.stdout.readline()

        async with asyncio.timeout(60):
            assert [await racer.stdout.readline() for racer in racers if racer.stdout] == [b"ready\n"] * 3
            won = [line.split() for line in await asyncio.gather(*map(say, racers))]
            for racer in racers:
                await racer.communicate(b"\n")
        assert [racer.returncode for racer in racers] == [0] * 3
        assert sorted(int(number) for numbers in won for number in numbers) == list(range(30))


async def test_many_jobs_that_adopt_at_the_same_time_get_different_predictions(place: Place, now: Any) -> None:
    async with AsyncExitStack() as stack:
        journals = [await stack.enter_async_context(place.open(clock=now)) for _ in range(4)]
        claims = [await intended(journal, f"job-{number}") for number, journal in enumerate(journals)]
        ids = [f"p{number}" for number in range(4)]
        adoptions = await asyncio.gather(
            *(journal.adopt(held, ids) for journal, held in zip(journals, claims, strict=True))
        )
        assert sorted(str(adoption.prediction_id) for adoption in adoptions) == ids


async def test_releasing_a_claim_records_a_prediction_that_could_not_be_written(journal: SQLJournal) -> None:
    first, second = await intended(journal, "first"), await intended(journal, "second")
    await journal.release(first, Prediction("p1", "processing"))
    await journal.release(second, Prediction("p1", "processing"))
    for key, expected in (("first", ("created", "p1")), ("second", ("intended", None))):
        held = await claim(journal, key)
        assert (held.entry.state, held.entry.prediction_id) == expected


async def test_of_many_jobs_that_record_the_same_prediction_one_gets_it(place: Place, now: Any) -> None:
    async with AsyncExitStack() as stack:
        journals = [await stack.enter_async_context(place.open(clock=now)) for _ in range(4)]
        claims = [await intended(journal, f"job-{number}") for number, journal in enumerate(journals)]
        made = Prediction("p1", "starting")
        owners = await asyncio.gather(
            *(journal.created(held, made) for journal, held in zip(journals, claims, strict=True))
        )
        assert sorted(owners) == ["", "", "", "p1"]


async def test_a_claim_whose_task_was_cancelled_is_released(journal: SQLJournal, place: Place, now: Any) -> None:
    await claim(journal, "another")
    waiting = asyncio.ensure_future(journal.claim("job", API, JOB, None, request=REQUEST, sent=SENT))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with place.open(clock=now) as other:
        assert (await claim(other)).entry.sends == 0


async def claimed_soon(journal: SQLJournal, **options: Any) -> Claim:
    """Claim the job as soon as no process holds it. Raises TimeoutError."""
    async with asyncio.timeout(10):
        while True:
            with suppress(JobHeldError):
                return await journal.claim("job", API, JOB, "/out", **options)
            await asyncio.sleep(0.05)


async def test_a_job_whose_release_failed_can_be_claimed_once_the_database_is_back(place: Place, now: Any) -> None:
    async with place.open(clock=now, **place.impatient) as journal, place.open(clock=now) as other:
        held = await intended(journal, "job")
        with place.away(), pytest.raises(JournalError):
            await journal.release(held)
        again = await claimed_soon(other)
        assert (again.fence, again.entry.state, again.entry.sends) == (2, "intended", 1)


async def test_a_prediction_that_a_failed_release_was_to_record_is_recorded_once_the_database_is_back(
    place: Place, now: Any
) -> None:
    async with place.open(clock=now, **place.impatient) as journal, place.open(clock=now) as other:
        held = await intended(journal, "job")
        with place.away(), pytest.raises(JournalError):
            await journal.release(held, Prediction("p1", "processing"))
        assert (await claimed_soon(other)).entry.prediction_id == "p1"


async def test_repeating_a_release_that_failed_does_not_release_a_later_claim(place: Place, now: Any) -> None:
    async with place.open(clock=now, **place.impatient) as journal, place.open(clock=now) as other:
        lost = await claim(journal, "taken over")
        now.seconds += journal.lease
        await claim(other, "taken over")
        held = await claim(journal)
        with place.away():
            for each in (lost, held):
                with pytest.raises(JournalError):
                    await journal.release(each)
        await claimed_soon(other)  # the last of both releases was repeated
        with pytest.raises(JobHeldError):
            await claim(journal, "taken over")


async def test_the_request_of_a_process_that_may_be_stopped_ends_at_its_latest_moment_for_all_later_processes(
    place: Place, now: Any
) -> None:
    async with place.open(clock=now) as sender, place.open(clock=now) as second, place.open(clock=now) as third:
        sent = moment(now)
        await sender.intend(await claim(sender), REQUEST, sent)
        now.seconds += sender.lease
        taken = await claim(second)
        assert taken.entry.unanswered == sent.later(LONGEST_REQUEST)
        await second.release(taken)
        assert (await claim(third)).entry.unanswered == sent.later(LONGEST_REQUEST)


async def test_the_request_of_a_process_that_released_its_claim_has_ended(place: Place, now: Any) -> None:
    async with place.open(clock=now) as sender, place.open(clock=now) as second:
        held = await intended(sender, "job")
        now.seconds += 2
        released = sender.moment()
        await sender.release(held)
        now.seconds += 2
        unanswered = (await claim(second)).entry.unanswered
    assert unanswered
    assert unanswered.since == released.since


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whether another process has died")
async def test_the_request_of_a_process_that_died_on_this_machine_has_ended(
    place: Place, now: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        earlier = msgspec.structs.replace(Process.current(now), started="1")
        patch.setattr(Process, "current", classmethod(lambda *_: earlier))
        async with place.open(clock=now) as sender:
            for key in ("a", "b", "c"):
                await intended(sender, key)
    now.seconds += sender.lease + 5
    async with place.open(clock=now) as second:
        ends = [(await claim(second, key)).entry.unanswered for key in ("a", "b", "c")]
    assert [end and end.since for end in ends] == [now.seconds] * 3


async def test_an_intent_whose_task_was_cancelled_leaves_no_request_to_look_up(place: Place, now: Any) -> None:
    """Without an answer from the database, the intent could be written after the claim was released."""
    async with place.open(clock=now) as journal, place.open(clock=now) as second:
        await asyncio.gather(*(journal.get(f"{number}") for number in range(8)))  # opens the connections
        for number in range(40):
            held = await claim(journal, f"job {number}")
            intending = asyncio.create_task(journal.intend(held, REQUEST, moment(now)))
            for _ in range(number % 8):
                await asyncio.sleep(0)
            intending.cancel()
            with suppress(asyncio.CancelledError):
                await intending
            await journal.release(held)
            state = (await claim(second, f"job {number}")).entry.state
            assert state == ("claimed" if intending.cancelled() else "intended")


async def test_a_journal_that_closes_after_a_failed_release_leaves_no_row_of_holders(place: Place, now: Any) -> None:
    async with place.open(clock=now, **place.impatient) as journal:
        held = await claim(journal)
        with place.away(), pytest.raises(JournalError):
            await journal.release(held)
    assert place.holders() == []


@pytest.mark.parametrize("options", [{}, {"request": REQUEST, "sent": SENT}], ids=["claimed", "intended"])
async def test_a_claim_that_failed_is_not_held(place: Place, now: Any, options: dict[str, Any]) -> None:
    async with place.open(clock=now, **place.impatient) as journal, place.open(clock=now) as other:
        await claim(journal, "another")
        with place.away(), pytest.raises(JournalError):
            await journal.claim("job", API, JOB, "/out", **options)
        again = await claimed_soon(other, **options)
        assert again.entry.sends == len(options) // 2


def sends(number: int) -> CreateRequest:
    return msgspec.structs.replace(REQUEST, body=b'{"input":{"prompt":"%d"}}' % number)


async def test_many_concurrent_claims_hold_different_jobs(journal: SQLJournal) -> None:
    claims = await asyncio.gather(
        *(journal.claim(f"job-{number}", API, JOB, None, request=sends(number), sent=SENT) for number in range(300))
    )
    assert [(held.key, held.entry.request, held.intends) for held in claims] == [
        (f"job-{number}", sends(number), True) for number in range(300)
    ]
    made = [Prediction(f"p{number}", "succeeded", output=f"{number}") for number in range(300)]
    pairs = zip(claims, made, strict=True)
    owners = await asyncio.gather(*(journal.created(held, one, collected=True) for held, one in pairs))
    assert owners == [one.id for one in made]
    entries = await journal.look_up([held.key for held in claims])
    assert [entries[held.key].prediction for held in claims] == made


async def test_of_many_concurrent_claims_on_the_same_key_one_succeeds(journal: SQLJournal) -> None:
    claims = [journal.claim("job", API, JOB, None, request=REQUEST, sent=SENT) for _ in range(5)]
    outcomes = await asyncio.gather(*claims, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Claim", *["JobHeldError"] * 4]


async def test_of_many_jobs_that_get_the_same_prediction_at_the_same_time_one_keeps_it(journal: SQLJournal) -> None:
    claims = [await intended(journal, f"job-{number}") for number in range(5)]
    one, others = Prediction("p", "starting"), [Prediction(f"p{number}", "starting") for number in range(5)]
    both = zip(claims, [one, others[1], one, others[3], one], strict=True)
    assert sorted(await asyncio.gather(*(journal.created(held, each) for held, each in both))) == [
        *("", "", "p", "p1", "p3")
    ]


async def test_a_lost_claim_does_not_fail_other_writes_in_its_transaction(journal: SQLJournal) -> None:
    claims = [await intended(journal, f"job-{number}") for number in range(3)]
    await journal.created(claims[1], Prediction("mine", "starting"))
    made = [Prediction(f"p{number}", "starting") for number in range(3)]
    owners = await asyncio.gather(*(journal.created(*pair) for pair in zip(claims, made, strict=True)))
    assert owners == ["p0", "mine", "p2"]


async def test_stored_text_can_have_any_character(journal: SQLJournal) -> None:
    job = Job("acme/model", {"prompt": "a\0b ü \U0001f98a"})
    held = await claim(journal, "ü/\U0001f98a", job)
    await journal.created(held, Prediction("p1", "succeeded", output="x\0y", logs="\0"))
    await journal.collected(held, Prediction("p1", "succeeded", output="x\0y"), [], "not \0 ␀ ␀0 kept")
    entry = await journal.get("ü/\U0001f98a")
    assert entry
    assert entry.prediction
    assert (entry.job, entry.prediction.output) == (job, "x\0y")
    assert entry.problem == "not \0 ␀ ␀0 kept"


async def test_finished_jobs_are_pruned(journal: SQLJournal) -> None:
    await finished(journal, "old")
    await journal.refused(await claim(journal, "refused"), "no")
    await claim(journal, "runs")
    later = journal.time() + 60  # the database's clock may differ from the test's
    assert await journal.prune(0) == Pruned(0, 0)
    assert await journal.prune(later, dry_run=True) == Pruned(2, 0)
    assert await journal.prune(later) == Pruned(2, 0)
    old, runs = await journal.get("old"), await journal.get("runs")
    assert old
    assert (old.prediction_id, old.prediction, old.job) == ("id-old", None, Job("acme/model"))
    assert runs
    assert await journal.get("refused") is None
    assert await journal.prune(later, forget=True) == Pruned(1, 0)
    assert await journal.get("old") is None


async def test_batches_are_listed_newest_first_with_their_unfinished_rows(journal: SQLJournal) -> None:
    for number in (1, 2):
        await journal.begin_batch(BatchEntry(f"b{number}", API, "rows.csv", "replicate-job batch", float(number)))
    await journal.begin_batch(BatchEntry("b1", API, "other.csv", "replicate-job batch", 1.5))
    await journal.claim("b1/1", API, JOB, None, batch="b1")
    assert [(batch.id, batch.source, batch.unfinished) for batch in await journal.batches()] == [
        ("b2", "rows.csv", 0), ("b1", "other.csv", 1),
    ]  # fmt: skip


async def test_a_lease_is_renewed_while_the_event_loop_is_busy(place: Place) -> None:
    async with place.open(lease=0.6) as journal, place.open(lease=0.6) as other:
        held = await claim(journal)
        time.sleep(0.9)  # noqa: ASYNC251 - it blocks the event loop on purpose
        with pytest.raises(JobHeldError):
            await claim(other)
        assert held.lease.left > 0


async def test_a_scan_of_a_batch_yields_only_its_rows(journal: SQLJournal, monkeypatch: Any) -> None:
    monkeypatch.setattr("replicate_job.journal.sql.LOOKED_UP", 2)
    keys = ["b/1", "b/2", "b/3", "b~2/1", "b~10/x"]
    others = [("b2/1", "b2"), ("b", None), ("b/4", None), ("a/1", "a")]
    for key, batch in [*((key, "b") for key in keys), *others]:
        await journal.claim(key, API, JOB, None, batch=batch)
    found = [entry.key async for some in journal.scan(batch="b") for entry in some]
    assert sorted(found) == sorted(keys)
    assert [entry.key async for some in journal.scan(batch="none") for entry in some] == []


async def test_a_scan_since_a_given_time_yields_the_jobs_and_rows_claimed_after_it(
    journal: SQLJournal, now: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("replicate_job.journal.sql.LOOKED_UP", 2)
    for number in range(7):
        await journal.claim(f"k{number}", API, JOB, None, batch="b" if number % 2 else None)
        now.seconds += 10
    everything = [entry async for some in journal.scan() for entry in some]
    assert [entry.key for entry in everything] == [f"k{number}" for number in range(7)]
    since = everything[4].claimed_at
    assert [entry.key async for some in journal.scan(since=since) for entry in some] == ["k4", "k5", "k6"]


async def test_a_models_past_predictions_are_found_with_and_without_a_version_newest_first(journal: SQLJournal) -> None:
    version = "a" * 64
    models = ["acme/model", f"acme/model:{version}", "acme/model2", "acme/mode", "acme/model"]
    for number, model in enumerate(models):
        claim = await journal.claim(f"k{number}", API, Job(model), None, batch="b" if number else None)
        await journal.created(claim, Prediction(f"p{number}", "succeeded"), collected=True)
    running = await journal.claim("running", API, Job("acme/model"), None)
    await journal.created(running, Prediction("p9", "processing"))
    await journal.claim("other", "https://other.example.com/v1", Job("acme/model"), None)
    assert [entry.key for entry in await journal.past(API, "acme/model", 10)] == ["k4", "k1", "k0"]
    assert [entry.key for entry in await journal.past(API, "acme/model", 2)] == ["k4", "k1"]


async def success(journal: SQLJournal, key: str, request: CreateRequest, now: Any, **fields: Any) -> None:
    sent = Moment(now.seconds, "this boot", now.seconds)
    claim = await journal.claim(key, API, JOB, None, request=request, sent=sent)
    prediction = Prediction(f"of {key}", fields.get("status", "succeeded"), output="words")
    await journal.created(claim, prediction)
    await journal.collected(claim, prediction, (), fields.get("problem", ""))


async def test_stored_successes_of_a_request_are_found_newest_first(journal: SQLJournal, now: Any) -> None:
    """The first use of the journal reads its key for fingerprints first."""
    assert await journal.successes(API, [REQUEST], 0) == [[]]
    for key in ("one", "two"):
        await success(journal, key, REQUEST, now)
        now.seconds += 10
    await success(journal, "other", OTHER, now)
    await success(journal, "failed", REQUEST, now, status="failed")
    await success(journal, "lost", REQUEST, now, problem="its outputs are gone")
    await success(journal, "pruned", REQUEST, now)
    await journal.forget("pruned")
    await journal.claim("intended", API, JOB, None, request=REQUEST, sent=SENT)
    found = await journal.successes(API, [OTHER, REQUEST], 0)
    assert [[entry.key for entry in entries] for entries in found] == [["other"], ["two", "one"]]
    recent = await journal.successes(API, [REQUEST], now.seconds - 15)
    assert [entry.key for entry in recent[0]] == ["two"]
    assert await journal.successes("https://other.example.com/v1", [REQUEST], 0) == [[]]


async def test_stored_successes_are_compared_with_their_secrets_and_the_content_of_uploads(
    journal: SQLJournal, now: Any
) -> None:
    def with_secret(secret: str) -> CreateRequest:
        body = msgspec.json.encode({"input": {"prompt": "x", "code": secret}})
        return msgspec.structs.replace(REQUEST, body=body, secrets=("code",))

    def with_file(url: str, sha256: str) -> CreateRequest:
        body = msgspec.json.encode({"input": {"image": [url]}})
        return msgspec.structs.replace(REQUEST, body=body, files={url: sha256})

    await success(journal, "secret", with_secret("one"), now)
    await success(journal, "file", with_file("https://files.example.com/1", "ab"), now)
    asked = [
        *(with_secret("one"), with_secret("two")),
        *(with_file("https://files.example.com/2", "ab"), with_file("https://files.example.com/1", "cd")),
    ]
    found = await journal.successes(API, asked, 0)
    assert [[entry.key for entry in entries] for entries in found] == [["secret"], [], ["file"], []]


async def test_a_jobs_fingerprint_uses_the_journals_key_from_the_first_use(journal: SQLJournal, place: Place) -> None:
    made = (await journal.printer())(JOB)
    async with place.open() as other:
        assert (await other.printer())(JOB) == made
    assert made != print_job(b"", JOB)


async def test_each_prediction_in_an_older_journal_counts_as_possibly_adopted(place: Any, now: Any) -> None:
    """An older journal does not tell which of its predictions were known from a response."""
    states = ("claimed", "intended", "uncertain", "refused", "created", "ended", "collected")
    async with place.open(clock=now) as journal:
        held = {state: await claim(journal, state) for state in states}
        for state in states[1:]:
            held[state] = await journal.intend(held[state], REQUEST, SENT)
        await journal.uncertain(held["uncertain"], "not known")
        await journal.refused(held["refused"], "not sent")
        for state in states[4:]:
            await journal.created(held[state], Prediction(state, "starting"))
        await journal.ended(held["ended"], Prediction("ended", "succeeded"))
        await journal.collected(held["collected"], Prediction("collected", "succeeded"))
        for each in held.values():
            await journal.release(each)
    if isinstance(place, FilePlace):
        with closing(sqlite3.connect(place.address)) as database:
            database.execute("ALTER TABLE jobs DROP COLUMN unanswered")
            database.execute("PRAGMA user_version = 6")
    else:
        place.execute("ALTER TABLE replicate_job.jobs DROP COLUMN unanswered")
        place.execute("DELETE FROM replicate_job.migrations WHERE number = 8")
        assert await migrate_database(DatabaseURL(place.address)) == (7, 8)
    async with place.open(clock=now) as journal:
        assert {state: entry.state for state, entry in (await journal.look_up(states)).items()} == dict(
            zip(states, states, strict=True)
        )
        for state in ("intended", "uncertain"):
            adoption = await journal.adopt(await claim(journal, state), ["created", "ended", "collected"])
            assert adoption == Adoption(rivals_unanswered=(SENT,) * 3)
