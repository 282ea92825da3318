"""After a broken create: from the account's list to "this one", "none", or "it cannot be told"."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.errors import UncertainError
from replicate_job.flow.context import Context
from replicate_job.flow.reconcile import is_answer, reconcile, same_input
from replicate_job.flow.run import Ask, run_job
from replicate_job.job import Job
from replicate_job.journal.entry import Claim, Request
from replicate_job.journal.sqlite import SQLiteJournal
from replicate_job.testing import Answer, Fault, Script, ScriptedAPI
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target, parse_target

Connect = Callable[..., AbstractAsyncContextManager[Context]]
JOB = Job("acme/private", {"n": 1}, poll_interval=0.05, max_poll_attempts=400)
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
MODEL, OTHER = Target("model", "acme", "private"), "f" * 64
SHIFT = 3 * 3600.0


def make_request(target: str = "acme/private", given: Any = None, version: str = "") -> Request:
    body = {"input": {"n": 1} if given is None else given} | ({"version": version} if version else {})
    named = parse_target(target)
    place = {"deployment": f"/deployments/{named.slug}", "model": f"/models/{named.slug}"}.get(named.kind, "")
    return Request(named, f"{place}/predictions", msgspec.json.encode(body))


async def intended(context: Context, key: str, request: Request, *, send: bool = True) -> Claim:
    """A claim on a job whose create is out; its answer never came. ``send`` says whether it arrived."""
    claim = await context.journal.claim(key, context.api, JOB, None)
    entry = await context.journal.intend(claim, request)
    if send:
        await context.client.create_prediction(request.path, request.body)
    return Claim(entry, claim.fence)


async def look(context: Context, claim: Claim) -> str | None:
    return await reconcile(context, claim, claim.entry)


async def test_the_prediction_of_a_create_that_broke_is_found(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        for number in range(3):
            await context.client.create_prediction("/models/acme/private/predictions", b'{"input":{"n":%d}}' % number)
        claim = await intended(context, "job", make_request(given={"n": 7}))
        assert await look(context, claim) == api.predictions[3].id
        entry = await context.journal.get("job")
    assert entry
    assert (entry.state, entry.prediction_id) == ("created", api.predictions[3].id)


async def test_it_is_absent_only_after_the_list_had_its_time_to_show_it(connect: Connect) -> None:
    with ScriptedAPI(list_lag=0.3) as api:
        async with connect(api, settle=0.6) as context:
            claim = await intended(context, "late", make_request(given={"n": 2}))
            assert await look(context, claim) == api.predictions[0].id
            claim = await intended(context, "never", make_request(), send=False)
            before = time.monotonic()
            assert await look(context, claim) is None
    assert time.monotonic() - before >= 0.6


async def test_time_that_passed_before_counts_as_the_lists_time(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api, settle=3600) as context:
        await context.client.get_account()
        claim = await intended(context, "job", make_request(), send=False)
        async with asyncio.timeout(5):
            assert await reconcile(context, claim, claim.entry, elapsed=3600) is None
    assert api.count("list") == 1


async def test_two_candidates_for_one_job_are_not_guessed_between(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        claim = await intended(context, "job", make_request())
        await context.client.create_prediction(make_request().path, make_request().body)
        with pytest.raises(UncertainError, match="several predictions could be it") as caught:
            await look(context, claim)
        entry = await context.journal.get("job")
    assert caught.value.key == "job"
    assert caught.value.candidates == tuple(prediction.id for prediction in api.predictions)
    assert "replicate-job wait ID --key job" in str(caught.value)
    assert entry
    assert entry.state == "uncertain"


async def test_an_input_that_is_removed_already_leaves_it_open(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=0), expire=0) as api:
        async with connect(api) as context:
            claim = await intended(context, "job", make_request())
            with pytest.raises(UncertainError, match="removed the inputs already") as caught:
                await look(context, claim)
    assert caught.value.candidates == (api.predictions[0].id,)


async def test_a_list_that_fails_for_a_while_is_asked_again(api: ScriptedAPI, connect: Connect, fast: Any) -> None:
    api.faults.next("list", "503", "drop", "html", "429(body=0)", "half", "nonsense")
    async with connect(api, clock=fast) as context:
        claim = await intended(context, "job", make_request())
        assert await look(context, claim) == api.predictions[0].id


async def test_a_list_that_never_answers_leaves_it_open(connect: Connect) -> None:
    with ScriptedAPI(faults="list:503=1") as api:
        async with connect(api, settle=0, listing=0.2) as context:
            claim = await intended(context, "job", make_request())
            with pytest.raises(UncertainError, match=r"the list of predictions cannot be read: .*503"):
                await look(context, claim)


async def test_a_list_that_may_not_be_read_leaves_it_open_at_once(api: ScriptedAPI, connect: Connect) -> None:
    api.faults.next("list", "403")
    async with connect(api, settle=3600) as context:
        claim = await intended(context, "job", make_request())
        with pytest.raises(UncertainError, match="403"):
            await look(context, claim)
    assert api.count("list") == 1


async def test_a_list_that_leads_back_to_itself_leaves_it_open(api: ScriptedAPI, connect: Connect) -> None:
    page = msgspec.json.encode({"results": [], "next": f"{api.base_url}/v1/predictions?cursor=1", "previous": None})
    api.faults.next("list", *[Fault.answering(Answer(200, page))] * 1000)
    async with connect(api, settle=0, listing=0.2) as context, asyncio.timeout(5):
        claim = await intended(context, "job", make_request(), send=False)
        with pytest.raises(UncertainError):
            await look(context, claim)


async def test_every_page_is_read(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        claim = await intended(context, "job", make_request())
        for number in range(250):
            await context.client.create_prediction("/models/acme/private/predictions", b'{"input":{"x":%d}}' % number)
        assert await look(context, claim) == api.predictions[0].id
    assert api.count("list") == 3


async def test_pages_whose_links_name_another_host_are_read_through_ours(
    api: ScriptedAPI, connect: Connect, relay: Any
) -> None:
    """A base URL can be a proxy; the links in answers name the API itself. Stopping there would create twice."""
    await relay.open()
    async with connect(api, base_url=relay.url) as context:
        claim = await intended(context, "job", make_request())
        for number in range(100):
            await context.client.create_prediction("/models/acme/private/predictions", b'{"input":{"x":%d}}' % number)
        assert await look(context, claim) == api.predictions[0].id


class Unfiltered:
    """A client of a server that does not know ``created_after``."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def list_predictions(self, **_: Any) -> AsyncIterator[list[Prediction]]:
        span = {"after": datetime(2000, 1, 1, tzinfo=UTC), "before": datetime(2100, 1, 1, tzinfo=UTC)}
        pages: AsyncIterator[list[Prediction]] = self._client.list_predictions(**span)
        return pages


async def test_a_server_that_ignores_the_filter_is_not_read_to_its_first_day(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api) as opened:
        context = msgspec.structs.replace(opened, client=Unfiltered(opened.client))
        request = make_request()
        for _ in range(250):
            await context.client.create_prediction(request.path, request.body)
        for prediction in api.predictions:
            prediction.created -= 86400
        claim = await intended(context, "job", request)
        assert await look(context, claim) == api.predictions[250].id
    assert api.count("list") == 1


async def test_the_same_request_of_an_hour_ago_is_another_one(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as opened:
        context = msgspec.structs.replace(opened, client=Unfiltered(opened.client))
        await context.client.create_prediction(make_request().path, make_request().body)
        api.predictions[0].created -= 3600
        claim = await intended(context, "job", make_request(), send=False)
        assert await look(context, claim) is None


def _answer_with_date(body: bytes, moment: float) -> Fault:
    return Fault.answering(Answer(200, body, headers=(("date", formatdate(moment, usegmt=True)),)))


async def skewed(context: Context, monkeypatch: pytest.MonkeyPatch, shift: float, path: Any) -> Context:
    """Put this machine's clock ``shift`` seconds off, everywhere it is asked."""

    def shifted() -> float:
        return time.time() + shift

    monkeypatch.setattr("replicate_job.api.transport.time", SimpleNamespace(time=shifted))
    monkeypatch.setattr(context.clock, "time", shifted, raising=False)
    return msgspec.structs.replace(context, journal=SQLiteJournal(path, now=shifted))


@pytest.mark.parametrize("shift", [-SHIFT, SHIFT], ids=["behind", "ahead"])
async def test_a_clock_that_is_hours_off_does_not_hide_the_prediction(  # noqa: PLR0913, PLR0917 - fixtures
    api: ScriptedAPI, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, fast: Any, shift: float
) -> None:
    model = msgspec.json.encode(api.models["acme/private"].describe())
    api.faults.next("model", _answer_with_date(model, time.time()))
    api.faults.next("create", "drop-after")
    async with connect(api, clock=fast) as opened:
        context = await skewed(opened, monkeypatch, shift, tmp_path / "skewed.db")
        async with context.journal:  # type: ignore[attr-defined]
            result = await run_job(context, Ask(JOB))
    assert [prediction.id for prediction in api.predictions] == [result.prediction_id]


async def test_a_new_process_learns_the_clock_before_it_calls_anything_absent(
    api: ScriptedAPI, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, fast: Any
) -> None:
    async with connect(api, clock=fast) as opened:
        context = await skewed(opened, monkeypatch, SHIFT, tmp_path / "skewed.db")
        async with context.journal:  # type: ignore[attr-defined]
            claim = await intended(context, "job", make_request())
            await context.journal.release(claim)
    async with connect(api, clock=fast) as opened:  # a new client, which has no answer yet
        context = await skewed(opened, monkeypatch, SHIFT, tmp_path / "skewed.db")
        api.faults.next("list", _answer_with_date(b'{"results":[],"next":null}', time.time()))
        async with context.journal:  # type: ignore[attr-defined]
            claim = await context.journal.claim("job", context.api, JOB, None)
            assert await reconcile(context, claim, claim.entry, elapsed=3600) == api.predictions[0].id


@pytest.mark.parametrize(
    ("request_", "prediction", "expected"),
    [
        (make_request(), {"model": "acme/private", "version": "hidden"}, True),
        (make_request(), {"model": "acme/other", "version": "hidden"}, False),
        (make_request(), {"model": "acme/private", "deployment": "acme/flux"}, False),
        (make_request(), {"model": "acme/private", "input": {"n": 2}}, False),
        (make_request(), {"model": "acme/private", "input": {"n": 1, "m": 1}}, False),
        (make_request(), {"model": "acme/private", "input": {}}, None),
        (make_request(), {"model": "acme/private", "input": {}, "data_removed": True}, None),
        (make_request(), {"model": "acme/other", "input": {}, "data_removed": True}, False),
        (make_request(given={}), {"model": "acme/private", "input": {}}, True),
        (make_request(VERSION, version=VERSION), {"version": VERSION}, True),
        (make_request(VERSION, version=VERSION), {"version": OTHER}, False),
        (make_request(f"a/b:{VERSION}", version=VERSION), {"version": VERSION, "model": "a/b"}, True),
        (make_request(f"a/b:{VERSION}", version=VERSION), {"version": VERSION, "deployment": "a/c"}, False),
        # Official models hide which version ran: the model and the input tell.
        (make_request(f"a/b:{VERSION}", version=VERSION), {"version": "hidden", "model": "a/b"}, True),
        (make_request(f"a/b:{VERSION}", version=VERSION), {"version": "hidden", "model": "a/c"}, False),
        (make_request("deployments/a/b"), {"deployment": "a/b", "model": "c/d", "version": OTHER}, True),
        (make_request("deployments/a/b"), {"deployment": "a/c", "model": "c/d", "version": OTHER}, False),
    ],
)  # fmt: skip
def test_which_predictions_a_request_can_have_made(
    request_: Request,
    prediction: dict[str, Any],
    expected: bool | None,  # noqa: FBT001 - a table
) -> None:
    whole = {"id": "x", "status": "starting", "input": {"n": 1}} | prediction
    assert is_answer(msgspec.convert(whole, Prediction), request_) is expected


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def _listed(value: Any) -> Any:
    """As another JSON library may write it: whole floats as integers."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {name: _listed(item) for name, item in reversed(value.items())}
    return [_listed(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> str:
    """The value's identity as JSON: true is not 1, 1 is 1.0, the order of names means nothing."""
    match value:
        case bool() | None | str():
            return repr(value)
        case int() | float():
            return repr(float(value) + 0.0)  # -0.0 is 0.0
        case list():
            return f"[{','.join(map(_plain, value))}]"
        case _:
            return f"{{{','.join(sorted(repr(name) + ':' + _plain(item) for name, item in value.items()))}}}"


@given(_VALUES)
def test_an_input_equals_itself_as_the_api_lists_it(value: Any) -> None:
    sent = msgspec.json.decode(msgspec.json.encode(value))
    assert same_input(sent, msgspec.json.decode(msgspec.json.encode(_listed(value))))


@given(_VALUES, _VALUES)
def test_inputs_are_the_same_only_where_their_json_is(one: Any, other: Any) -> None:
    assert same_input(one, other) == (_plain(one) == _plain(other))


@pytest.mark.parametrize(
    ("sent", "listed", "same"),
    [
        ("data:text/plain,hi", "https://replicate.delivery/x", True),
        ("data:text/plain,hi", "data:text/plain,hi", True),
        ("data:text/plain,hi", "data:text/plain,ho", False),
        ("data:text/plain,hi", "hi", False),
        ("https://a/x", "https://a/y", False),
        (True, 1, False),
        (0, False, False),
        (None, False, False),
        ({"a": 1}, {"a": 1, "b": None}, False),
    ],
)
def test_what_else_counts_as_the_same(sent: Any, listed: Any, same: bool) -> None:  # noqa: FBT001 - a table
    assert same_input(sent, listed) is same


async def test_an_official_model_named_by_a_version_is_created_once(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    version = api.models["black-forest-labs/flux-schnell"].version_ids[0]
    api.faults.next("create", "drop-after")
    job = msgspec.structs.replace(JOB, model=f"black-forest-labs/flux-schnell:{version}", input_data={"prompt": "x"})
    async with connect(api, clock=fast) as context:
        result = await run_job(context, Ask(job))
    assert [prediction.id for prediction in api.predictions] == [result.prediction_id]


async def test_a_bare_version_id_whose_version_the_list_hides_is_not_sent_twice(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.faults.next("create", "drop-after")
    job = msgspec.structs.replace(JOB, model=api.models["acme/private"].version_ids[0])
    async with connect(api, clock=fast) as context:
        with suppress(UncertainError):  # not to know is right as well
            await run_job(context, Ask(job))
    assert len(api.predictions) == 1
