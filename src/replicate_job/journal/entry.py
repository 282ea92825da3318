"""The journal's records of a job: its row, its create request, and a claim on it."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import msgspec

from replicate_job.clock import Moment
from replicate_job.decoding import decode
from replicate_job.errors import DamagedError, JobError
from replicate_job.flow.lifecycle import State, Step, next_step
from replicate_job.folders import absolute
from replicate_job.inputs.content import Content
from replicate_job.job import Job, Kept
from replicate_job.journal.lease import Lease
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target

_FILE, _CONTENT = _MARKS = ("replicate-job:file", "replicate-job:content")
_MARK = b"replicate-job:"  # the prefix of ``_FILE`` and ``_CONTENT``
_LATEST = 32_503_680_000.0  # the year 3000


UNSENT = 15.0
"""The most seconds between the record of an intent and the connection for its request. A later request is not sent."""
LONGEST_REQUEST = UNSENT + 95
"""The most seconds from an intent to the end of its create request, in any process: 15 until it connects, 5 to connect,
60 of blocking wait, 30 for the answer."""


class CreateRequest(msgspec.Struct, frozen=True, dict=True, omit_defaults=True):  # `dict` is for the cached property
    """A create request exactly as it is sent.

    ``target`` is the model that the request names. ``body`` is JSON. ``secrets`` are the names of inputs that the API
    never returns. ``files`` maps the URLs of uploads to the SHA-256 of their contents. ``hardware`` is the hardware of
    the deployment when the request was made, since the price depends on it. It is empty for other models.
    """

    target: Target
    path: str
    body: bytes
    cancel_after: str | None = None
    secrets: tuple[str, ...] = ()
    files: dict[str, str] = {}
    hardware: str = ""

    @cached_property
    def values(self) -> dict[str, Any]:
        """The decoded body. It must not be changed."""
        body: dict[str, Any] = msgspec.json.decode(self.body)
        return body

    @property
    def input(self) -> dict[str, Any]:
        values: dict[str, Any] = self.values["input"]
        return values

    @property
    def version(self) -> str:
        """The version in the body, without its ``owner/name:``. Empty for official models and deployments.

        For a training it is the version in the path.
        """
        return str(self.values.get("version", "") or self.target.version).rpartition(":")[2]


class Entry(msgspec.Struct, frozen=True):
    """A job's row in the journal. ``claimed_at`` is Unix time. ``api`` is the base URL of the job's API.

    ``save`` is the place for outputs (see ``outputs.place``), None if they are not saved. ``files`` are the saved
    files. ``batch`` is the id of the batch to which the job belongs. ``sends`` counts the create requests that were
    sent or are about to be sent; ``first_sent`` and ``last_sent`` are the times of the first and the last request.
    ``unanswered`` is a moment by which the last request has ended without an answer. The moment is in the future if
    another process has sent the request and may still be alive. It is None if the request got an answer or is under
    way. ``token`` is the keyed hash of the last request's token (empty: sent without a token; None: not known).
    ``status`` is the prediction's last known status. ``job_print`` is the job's keyed fingerprint. In a chain,
    ``chain_step`` is the name of the job's step, and ``key`` is the chain's key followed by ``/<step>``.
    """

    key: str
    api: str
    job: Job
    state: State
    claimed_at: float
    save: str | None = None
    request: CreateRequest | None = None
    sends: int = 0
    first_sent: Moment | None = None
    last_sent: Moment | None = None
    unanswered: Moment | None = None
    prediction_id: str | None = None
    status: str | None = None
    prediction: Prediction | None = None
    files: tuple[Kept, ...] = ()
    problem: str = ""
    batch: str | None = None
    token: str | None = None
    job_print: str | None = None
    chain_step: str | None = None

    @property
    def request_end(self) -> Moment | None:
        """A moment by which the last request has ended. None if no request was sent."""
        return self.unanswered or (self.last_sent and self.last_sent.later(LONGEST_REQUEST))

    @property
    def step(self) -> Step:
        """The next step of the job."""
        return next_step(self.state, self.prediction_id, self.status)


STORED: tuple[type[Any], ...] = (Job, CreateRequest, Moment, Prediction, list[str])
"""The types in which the columns of a job's row are decoded."""


class BatchEntry(msgspec.Struct, frozen=True):
    """A batch. ``source`` is the file with its rows, empty for rows from Python. ``command`` continues the batch.

    ``started_at`` is Unix time. ``unfinished`` counts the rows that were claimed and are not over.
    """

    id: str
    api: str
    source: str
    command: str
    started_at: float
    unfinished: int = 0


class JobCount(msgspec.Struct, frozen=True):
    """The number of a batch's jobs in one state. ``batch`` is None for jobs without a batch.

    ``status`` is the status of the jobs' predictions, empty before the predictions have ended.
    """

    batch: str | None
    state: State
    status: str
    number: int


class Pruned(msgspec.Struct, frozen=True):
    """The numbers of jobs and of remembered uploads that were deleted from the journal."""

    jobs: int
    uploads: int


class Claim(msgspec.Struct, frozen=True):
    """The right to act for a job. ``fence`` grows with every claim. A write with an older fence is refused.

    ``intends``: the create request is recorded and is to be sent now, if ``lease.may_send`` is true.
    """

    entry: Entry
    fence: int
    lease: Lease
    intends: bool = False

    @property
    def key(self) -> str:
        return self.entry.key


class Adoption(msgspec.Struct, frozen=True):
    """The result of comparing the account's list with the journal.

    ``prediction_id`` is the job's prediction, None if the job has none so far. ``unclear`` are the ids of predictions
    that may belong to this job or to another job; none of them was adopted. ``surplus`` are the ids of further
    predictions of this job.

    A rival is another job whose request looks the same in the list. A rival may have adopted the prediction of this
    job. Then this job may adopt the rival's prediction, which the list may show later. ``rivals_unanswered`` are the
    moments by which the requests of such rivals had ended. It is certain that this job has no prediction only after the
    list had time to show the rivals' predictions too.
    """

    prediction_id: str | None = None
    surplus: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    rivals_unanswered: tuple[Moment, ...] = ()


def check_entry(entry: Entry) -> Entry:
    """Return the entry. Raises ValueError, TypeError or KeyError for an entry that no release can have written."""
    if entry.state not in get_args(State):
        raise ValueError(f"its state {entry.state!a} is unknown")
    sent = [time for moment in (entry.first_sent, entry.last_sent) if moment for time in (moment.wall, moment.best)]
    for time in (entry.claimed_at, *sent):
        if not 0 <= time < _LATEST:
            raise ValueError(f"one of its times is {time:g}")
    if entry.request:
        entry.request.input  # noqa: B018 - raises if the body cannot be decoded
    for text in (
        entry.key,
        entry.api,
        entry.save,
        entry.prediction_id,
        entry.status,
        entry.problem,
        entry.batch,
        entry.chain_step,
    ):
        (text or "").encode()
    return entry


def damaged(key: str, prediction_id: str | None, error: Exception) -> DamagedError:
    """Make the error for a row that cannot be read because of ``error``."""
    advice = (
        f"`replicate-job show {prediction_id}` shows its prediction" if prediction_id else "to run it, name it anew"
    )
    why = "nested too deep" if isinstance(error, RecursionError) else str(error)
    line = f"the journal's row of the job {key!r} is damaged ({why}): nothing is done for it; {advice}"
    return DamagedError(line.encode(errors="backslashreplace").decode(), key=key)


def encode_job(job: Job) -> bytes:
    """Encode a Job as JSON. A local file (``pathlib.Path``) becomes ``{"replicate-job:file": "/its/path"}``.

    A ``Content`` becomes ``{"replicate-job:content": …}`` with all its fields except its bytes. If an object in
    the input looks like such a mark, ``!`` is added to its name, so that it is not read back as a file.
    """
    text = _stored.encode(job)
    if text.find(_MARK) >= 0:  # faster than ``in``, which in Python 3.11 first takes the bytes for a number
        text = _stored.encode(msgspec.structs.replace(job, input_data=_with_marks(job.input_data)))
    return text


def decode_job(text: str | bytes) -> Job:
    """Read back what ``encode_job`` wrote."""
    job = decode(text, Job)
    return msgspec.structs.replace(job, input_data=_with_paths(job.input_data))


def fingerprint(job: Job) -> str:
    """A hash that is equal for two jobs that ask for the same prediction, even if their options for waiting differ."""
    return hashlib.sha256(encode_values(asked(job))).hexdigest()


def asked(job: Job) -> list[Any]:
    """The parts of a job that decide which prediction it asks for."""
    return [job.model, job.input_data, *([job.destination] if job.destination else [])]


def encode_values(values: Any) -> bytes:
    """Encode values of a job as JSON with sorted names.

    A ``Content`` is encoded as its SHA-256 only, since its name may be random.
    """
    text = _sorted.encode(values)
    return _sorted.encode(_with_marks(values)) if text.find(_MARK) >= 0 else text


def _store(value: Any) -> Any:
    if isinstance(value, Content):
        facts = {"name": value.name, "media_type": value.media_type, "size": value.size, "sha256": value.sha256}
        return {_CONTENT: facts}
    return _identify(value)


def _identify(value: Any) -> Any:
    if isinstance(value, Path):
        return {_FILE: str(absolute(value))}
    if isinstance(value, Content):
        return {_CONTENT: value.sha256}
    raise JobError(f"an input cannot hold a {type(value).__name__}: it must be JSON, or a file as a pathlib.Path")


_stored = msgspec.json.Encoder(enc_hook=_store)
_sorted = msgspec.json.Encoder(enc_hook=_identify, order="deterministic")


def _is_marked(value: dict[str, Any]) -> bool:
    """Whether the object is a mark of a file, or an input that looks like a mark, with any number of ``!``."""
    return len(value) == 1 and str(next(iter(value))).rstrip("!") in _MARKS


def _with_marks(value: Any) -> Any:
    if isinstance(value, dict):
        mark = "!" if _is_marked(value) else ""
        return {f"{name}{mark}" if mark else name: _with_marks(item) for name, item in value.items()}
    return [_with_marks(item) for item in value] if isinstance(value, list | tuple) else value


def _with_paths(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_FILE} and isinstance(value[_FILE], str):
            return Path(value[_FILE])
        if value.keys() == {_CONTENT} and isinstance(value[_CONTENT], dict):
            return Content(**value[_CONTENT])
        marked = _is_marked(value) and value.keys().isdisjoint(_MARKS)
        return {name[:-1] if marked else name: _with_paths(item) for name, item in value.items()}
    return [_with_paths(item) for item in value] if isinstance(value, list) else value
