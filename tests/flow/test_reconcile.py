"""After a broken create request, the account's list leads to one prediction, to none, or to an uncertain job."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from replicate_job.errors import NotFoundError, UncertainError
from replicate_job.flow.account import AccountNote
from replicate_job.flow.context import Context, moment
from replicate_job.flow.job_run import Ask
from replicate_job.flow.reconcile import reconcile
from replicate_job.flow.resolve import find_schema
from replicate_job.flow.run import run_job
from replicate_job.flow.span import LATEST
from replicate_job.job import Job
from replicate_job.journal.entry import Claim, CreateRequest
from replicate_job.testing import Answer, Fault, Script, ScriptedAPI
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import parse_target

Connect = Callable[..., AbstractAsyncContextManager[Context]]
JOB = Job("acme/private", {"n": 1}, poll_interval=0.05, max_poll_attempts=400)
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
SHIFT = 3 * 3600.0


def make_request(target: str = "acme/private", given: Any = None, version: str = "") -> CreateRequest:
    body = {"input": {"n": 1} if given is None else given} | ({"version": version} if version else {})
    named = parse_target(target)
    place = {"deployment": f"/deployments/{named.slug}", "model": f"/models/{named.slug}"}.get(named.kind, "")
    return CreateRequest(named, f"{place}/predictions", msgspec.json.encode(body))


async def intended(context: Context, key: str, request: CreateRequest, *, send: bool = True) -> Claim:
    """Claim a job whose create request got no answer. ``send`` says whether the request reached the API."""
    claim = await context.journal.claim(key, context.api, JOB, None)
    claim = await context.journal.intend(claim, request, moment(context))
    if send:
        await context.client.create_prediction(request.path, request.body, await context.client.take_slot())
    return claim


async def look(context: Context, claim: Claim) -> str | None:
    return await reconcile(context, claim, ended=context.clock.now())


async def test_the_prediction_of_a_broken_create_request_is_found(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        for number in range(3):
            await context.client.create_prediction(
                "/models/acme/private/predictions", b'{"input":{"n":%d}}' % number, await context.client.take_slot()
            )
        claim = await intended(context, "job", make_request(given={"n": 7}))
        assert await look(context, claim) == api.predictions[3].id
        entry = await context.journal.get("job")
    assert entry
    assert (entry.state, entry.prediction_id) == ("created", api.predictions[3].id)


@pytest.mark.long
async def test_a_missing_prediction_counts_as_not_created_only_after_the_list_had_time_to_show_it(
    connect: Connect,
) -> None:
    with ScriptedAPI(list_lag=0.3) as api:
        async with connect(api, settle=0.6) as context:
            claim = await intended(context, "late", make_request(given={"n": 2}))
            assert await look(context, claim) == api.predictions[0].id
            claim = await intended(context, "never", make_request(), send=False)
            before = time.monotonic()
            assert await look(context, claim) is None
    assert time.monotonic() - before >= 0.6


async def test_time_before_the_look_up_counts_toward_the_time_that_the_list_gets(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api, settle=3600) as context:
        await context.client.get_account()
        claim = await intended(context, "job", make_request(), send=False)
        async with asyncio.timeout(5):
            assert await reconcile(context, claim, ended=context.clock.now() - 3600) is None
    assert api.count("list") == 2  # the span, and the wider span


async def test_two_matching_predictions_make_the_job_uncertain(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        claim = await intended(context, "job", make_request())
        await context.client.create_prediction(
            make_request().path, make_request().body, await context.client.take_slot()
        )
        with pytest.raises(UncertainError, match="several predictions could be it") as caught:
            await look(context, claim)
        entry = await context.journal.get("job")
    assert caught.value.key == "job"
    assert caught.value.candidates == tuple(prediction.id for prediction in api.predictions)
    assert "replicate-job wait ID --key job" in str(caught.value)
    assert entry
    assert entry.state == "uncertain"


async def test_a_listed_prediction_without_its_input_makes_the_job_uncertain(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=0), expire=0) as api:
        async with connect(api) as context:
            claim = await intended(context, "job", make_request())
            with pytest.raises(UncertainError, match="a prediction could be it") as caught:
                await look(context, claim)
    assert caught.value.candidates == (api.predictions[0].id,)


async def test_a_list_whose_requests_fail_for_a_while_is_read_again(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.faults.next("list", "503", "drop", "html", "429(body=0)", "half", "nonsense")
    async with connect(api, clock=fast) as context:
        claim = await intended(context, "job", make_request())
        assert await look(context, claim) == api.predictions[0].id


async def test_a_list_whose_requests_keep_failing_makes_the_job_uncertain(connect: Connect) -> None:
    with ScriptedAPI(faults="list:503=1") as api:
        async with connect(api, settle=0, listing=0.2) as context:
            claim = await intended(context, "job", make_request())
            with pytest.raises(UncertainError, match=r"the list of predictions cannot be read: .*503"):
                await look(context, claim)


async def test_a_list_whose_requests_fail_late_in_a_long_look_up_is_read_again(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    """A rival's adoption can make a look-up longer, so a time limit from its beginning would be over."""
    async with connect(api, clock=fast, settle=0, listing=10) as context:
        later = msgspec.structs.replace(moment(context), since=fast.now() + 3600)
        rival = await intended(context, "rival", make_request())
        await context.journal.adopt(rival, [api.predictions[0].id], unanswered=later)
        claim = await intended(context, "job", make_request(), send=False)
        began, looking = fast.now(), asyncio.create_task(look(context, claim))
        while fast.now() < began + 15:  # noqa: ASYNC110 - a limit that counts from the beginning would be over
            await asyncio.sleep(0.01)
        api.faults.next("list", "503")
        reads, request = api.count("list"), make_request()
        while api.count("list") < reads + 2 and not looking.done():  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        await context.client.create_prediction(request.path, request.body, await context.client.take_slot())
        assert await looking == api.predictions[1].id


async def test_a_refused_request_for_the_list_makes_the_job_uncertain_at_once(
    api: ScriptedAPI, connect: Connect
) -> None:
    api.faults.next("list", "403")
    async with connect(api, settle=3600) as context:
        claim = await intended(context, "job", make_request())
        with pytest.raises(UncertainError, match="403"):
            await look(context, claim)
    assert api.count("list") == 1


async def test_a_list_whose_pages_form_a_circle_makes_the_job_uncertain(api: ScriptedAPI, connect: Connect) -> None:
    page = msgspec.json.encode({"results": [], "next": f"{api.base_url}/v1/predictions?cursor=1", "previous": None})
    api.faults.next("list", *[Fault.answering(Answer(200, page))] * 1000)
    async with connect(api, settle=0, listing=0.2) as context, asyncio.timeout(5):
        claim = await intended(context, "job", make_request(), send=False)
        with pytest.raises(UncertainError):
            await look(context, claim)


async def test_every_page_of_the_list_is_read(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        claim = await intended(context, "job", make_request())
        for number in range(250):
            await context.client.create_prediction(
                "/models/acme/private/predictions", b'{"input":{"x":%d}}' % number, await context.client.take_slot()
            )
        assert await look(context, claim) == api.predictions[0].id
    assert api.count("list") == 3


async def test_page_links_to_another_host_are_read_through_the_base_url(
    api: ScriptedAPI, connect: Connect, relay: Any
) -> None:
    """The base URL can be a proxy's, while page links name the API. Stopping at such a link would create twice."""
    await relay.open()
    async with connect(api, base_url=relay.url) as context:
        claim = await intended(context, "job", make_request())
        for number in range(100):
            await context.client.create_prediction(
                "/models/acme/private/predictions", b'{"input":{"x":%d}}' % number, await context.client.take_slot()
            )
        assert await look(context, claim) == api.predictions[0].id


class Unfiltered:
    """A client of a server that ignores ``created_after``."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def list_predictions(self, **_: Any) -> AsyncIterator[list[Prediction]]:
        span = {"after": datetime(2000, 1, 1, tzinfo=UTC), "before": datetime(2100, 1, 1, tzinfo=UTC)}
        pages: AsyncIterator[list[Prediction]] = self._client.list_predictions(**span)
        return pages


async def test_the_list_of_a_server_that_ignores_the_filter_is_not_read_to_its_end(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api) as opened:
        context = msgspec.structs.replace(opened, client=Unfiltered(opened.client))
        request = make_request()
        for _ in range(650):
            await context.client.create_prediction(request.path, request.body, await context.client.take_slot())
        for prediction in api.predictions:
            prediction.created -= 86400
        claim = await intended(context, "job", request)
        assert await look(context, claim) == api.predictions[650].id
    assert api.count("list") == 2


async def test_an_equal_prediction_from_an_hour_ago_is_not_adopted(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as opened:
        context = msgspec.structs.replace(opened, client=Unfiltered(opened.client))
        await context.client.create_prediction(
            make_request().path, make_request().body, await context.client.take_slot()
        )
        api.predictions[0].created -= 3600
        claim = await intended(context, "job", make_request(), send=False)
        assert await look(context, claim) is None


@pytest.mark.parametrize("shift", [-SHIFT, SHIFT], ids=["behind", "ahead"])
async def test_a_clock_that_is_hours_off_does_not_hide_the_prediction(
    api: ScriptedAPI, connect: Connect, still: Any, shift: float
) -> None:
    still.set_by = shift
    api.faults.next("create", "drop-after")
    async with connect(api, clock=still) as context:
        result = await run_job(context, Ask(JOB))
    assert [prediction.id for prediction in api.predictions] == [result.prediction_id]


@pytest.mark.parametrize("shift", [-SHIFT, SHIFT], ids=["was behind", "was ahead"])
async def test_a_clock_corrected_before_the_look_up_does_not_hide_the_prediction(
    api: ScriptedAPI, connect: Connect, still: Any, shift: float
) -> None:
    still.set_by = shift
    async with connect(api, clock=still) as context:
        claim = await intended(context, "job", make_request())
        await context.journal.release(claim)
    still.set_by = 0.0
    async with connect(api, clock=still) as context:  # a new client, which does not know the API's time yet
        claim = await context.journal.claim("job", context.api, JOB, None)
        assert await reconcile(context, claim) == api.predictions[0].id


async def test_without_the_apis_time_a_job_without_a_match_is_uncertain(
    api: ScriptedAPI, connect: Connect, still: Any
) -> None:
    """No response told the API's time before the request was sent, and the machine was restarted since."""
    still.boot = "before"
    async with connect(api, clock=still) as context:
        claim = await intended(context, "job", make_request(), send=False)
        await context.journal.release(claim)
        found = await intended(context, "found", make_request(given={"n": 2}))
        await context.journal.release(found)
    still.boot = "after"
    async with connect(api, clock=still) as context:
        claim = await context.journal.claim("found", context.api, JOB, None)
        assert await look(context, claim) == api.predictions[0].id
        claim = await context.journal.claim("job", context.api, JOB, None)
        with pytest.raises(UncertainError, match="the API's time is not known"):
            await look(context, claim)


async def test_an_equal_prediction_created_minutes_too_early_makes_the_job_uncertain(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api) as context:
        claim = await intended(context, "job", make_request())
        api.predictions[0].created -= 180
        with pytest.raises(UncertainError, match="but for the time when it was made") as caught:
            await look(context, claim)
    assert caught.value.candidates == (api.predictions[0].id,)


async def test_a_prediction_created_minutes_too_early_whose_input_is_gone_makes_the_job_uncertain(
    connect: Connect,
) -> None:
    with ScriptedAPI(script=Script(duration=0), expire=0) as api:
        async with connect(api) as context:
            claim = await intended(context, "job", make_request())
            api.predictions[0].created -= 180
            with pytest.raises(UncertainError, match="but for the time when it was made") as caught:
                await look(context, claim)
    assert caught.value.candidates == (api.predictions[0].id,)


async def test_an_old_prediction_at_the_end_of_a_page_does_not_end_the_reading(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api) as opened:
        context = msgspec.structs.replace(opened, client=Unfiltered(opened.client))
        claim = await intended(context, "job", make_request())
        for number in range(100):
            await context.client.create_prediction(
                "/models/acme/private/predictions", b'{"input":{"x":%d}}' % number, await context.client.take_slot()
            )
        api.predictions[1].created -= 86400
        assert await look(context, claim) == api.predictions[0].id


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("alice", "alice"), None),
        (("alice", "bob"), "of another account"),
        ((None, "bob"), "of which account is not known"),
    ],
)
async def test_only_the_list_of_the_sending_account_proves_that_no_prediction_was_created(
    api: ScriptedAPI, connect: Connect, same_journal: Any, names: tuple[str | None, str], expected: str | None
) -> None:
    async with connect(api) as context:
        if names[0]:
            await context.journal.note_account(context.api, names[0])
        claim = await intended(context, "job", make_request(), send=False)
        await context.journal.release(claim)
    async with connect(api) as opened, same_journal.open(token="another") as journal:  # noqa: S106 - no token
        context = msgspec.structs.replace(
            opened, journal=journal, account=AccountNote(opened.api, opened.client, journal, is_needed=True)
        )
        await journal.note_account(context.api, names[1])
        claim = await journal.claim("job", context.api, JOB, None)
        if expected is None:
            assert await look(context, claim) is None
        else:
            with pytest.raises(UncertainError, match=expected):
                await look(context, claim)


async def test_a_listed_prediction_may_be_new_however_old_the_request_is(connect: Connect) -> None:
    """Another job's request may have just made it. So its 404 is polled again, also by the run after the adoption."""
    with ScriptedAPI(missing_for=math.inf) as api:
        async with connect(api) as context:
            claim = await context.journal.claim("job", context.api, JOB, None)
            now, ago = moment(context), LATEST + context.retry_policy.appear + 1
            sent = msgspec.structs.replace(now, wall=now.wall - ago, since=now.since - ago)
            claim = await context.journal.intend(claim, make_request(), sent)
            await context.client.create_prediction(
                "/models/acme/private/predictions", make_request().body, await context.client.take_slot()
            )
            assert (await context.journal.adopt(claim, [api.predictions[0].id], unanswered=now)).prediction_id
            await context.journal.release(claim)
            task = asyncio.create_task(run_job(context, Ask(JOB, key="job")))
            while api.count("get") < 2 and not task.done():  # noqa: ASYNC110 - the server has no event to wait for
                await asyncio.sleep(0.005)
            api.predictions[0].visible = 0
            assert (await task).status == "succeeded"


@pytest.mark.parametrize(
    ("sender", "expected"), [("alice", "the token of another account: run it again with that one"), (None, "another")]
)
async def test_the_404_for_another_accounts_prediction_names_the_token_that_it_needs(
    api: ScriptedAPI, connect: Connect, same_journal: Any, sender: str | None, expected: str
) -> None:
    async with connect(api) as context:
        if sender:
            await context.journal.note_account(context.api, sender)
        claim = await intended(context, "job", make_request())
        prediction = await context.client.get_prediction(api.predictions[0].id)
        await context.journal.created(claim, msgspec.structs.replace(prediction, status="processing"))
        await context.journal.release(claim)
    api.faults.next("get", "404")  # the other account cannot see the prediction
    async with connect(api, appear=0) as opened, same_journal.open(token="another") as journal:  # noqa: S106 - no token
        account = AccountNote(opened.api, opened.client, journal, is_needed=True)
        await journal.note_account(opened.api, "bob")
        with pytest.raises(NotFoundError, match=f"it was created with {expected}"):
            await run_job(msgspec.structs.replace(opened, journal=journal, account=account), Ask(JOB, key="job"))


async def test_without_a_recorded_token_errors_blame_no_other_account(
    api: ScriptedAPI, connect: Connect, same_journal: Any
) -> None:
    """A prediction made elsewhere has no recorded token, nor has a row from before tokens were recorded."""
    async with connect(api, appear=0) as context:
        await intended(context, "other", make_request())
        prediction = await context.client.get_prediction(api.predictions[0].id)
        made_elsewhere = msgspec.structs.replace(prediction, status="processing")
        claim = await context.journal.claim("job", context.api, JOB, None, prediction=made_elsewhere)
        await context.journal.release(claim)
        api.faults.next("get", "404")
        with pytest.raises(NotFoundError) as caught:
            await run_job(context, Ask(JOB, key="job"))
        assert "token" not in str(caught.value)
        claim = await intended(context, "old", make_request(given={"n": 2}), send=False)
        await context.journal.release(claim)
    same_journal.execute("UPDATE jobs SET token = NULL WHERE key = 'old'")
    async with connect(api) as context:
        with pytest.raises(UncertainError, match="with a token that the journal does not know"):
            await look(context, await context.journal.claim("old", context.api, JOB, None))


async def test_the_schema_of_a_model_that_just_ran_is_not_requested_again(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        await run_job(context, Ask(JOB))
        asked = api.count("model")
        await find_schema(context, JOB.model)
        assert api.count("model") == asked


async def test_after_a_rival_on_another_machine_adopts_a_prediction_the_list_gets_its_full_time_again(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    """Clocks of two machines cannot be compared, so the list gets its whole time from now on."""
    async with connect(api, clock=fast, settle=60) as context:
        rival = await intended(context, "rival", make_request(), send=False)
        claim = await intended(context, "job", make_request(), send=False)
        began, looking = fast.now(), asyncio.create_task(look(context, claim))
        while fast.now() < began + 40:  # noqa: ASYNC110 - most of the time that the list may take
            await asyncio.sleep(0.01)
        elsewhere = msgspec.structs.replace(moment(context), boot="of another machine")
        adopted = fast.now()
        await context.journal.adopt(rival, ["the job's"], unanswered=elsewhere)
        assert await looking is None
    assert fast.now() >= adopted + 60


async def test_a_rival_job_whose_request_is_under_way_or_created_nothing_keeps_no_job_waiting(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    async with connect(api, clock=fast, settle=60) as context:
        await context.client.get_account()
        await intended(context, "under way", make_request(), send=False)
        absent = await intended(context, "absent", make_request(), send=False)
        await context.journal.adopt(absent, [], unanswered=moment(context))
        claim, began = await intended(context, "job", make_request(), send=False), fast.now()
        assert await reconcile(context, claim, ended=began - 60) is None
    assert fast.now() < began + 60


@pytest.mark.long
async def test_newer_predictions_in_the_list_prove_that_the_prediction_was_not_created(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api, settle=3600, overtaken=0.5) as context, asyncio.timeout(20):
        claim = await intended(context, "job", make_request(), send=False)
        looking = asyncio.create_task(look(context, claim))
        while api.count("list") < 2:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        assert not looking.done()
        while not looking.done():
            await context.client.create_prediction(
                "/models/acme/private/predictions", b'{"input":{"x":1}}', await context.client.take_slot()
            )
            await asyncio.sleep(0.05)
        assert await looking is None


async def test_a_look_up_that_runs_out_of_time_leaves_the_job_unchanged(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api, settle=3600) as context:
        claim = await intended(context, "job", make_request(), send=False)
        with pytest.raises(UncertainError, match="not known yet"):
            await reconcile(context, claim, within=0)
        entry = await context.journal.get("job")
    assert entry
    assert entry.state == "intended"


async def test_an_official_model_named_by_a_version_is_created_once(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    version = api.models["black-forest-labs/flux-schnell"].version_ids[0]
    api.faults.next("create", "drop-after")
    job = msgspec.structs.replace(JOB, model=f"black-forest-labs/flux-schnell:{version}", input_data={"prompt": "x"})
    async with connect(api, clock=fast) as context:
        result = await run_job(context, Ask(job))
    assert [prediction.id for prediction in api.predictions] == [result.prediction_id]


async def test_a_job_of_a_version_id_is_not_sent_twice_if_the_list_hides_versions(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.faults.next("create", "drop-after")
    job = msgspec.structs.replace(JOB, model=api.models["acme/private"].version_ids[0])
    async with connect(api, clock=fast) as context:
        with suppress(UncertainError):  # an uncertain job would be right as well
            await run_job(context, Ask(job))
    assert len(api.predictions) == 1
