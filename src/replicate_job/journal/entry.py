"""What the journal knows of a job."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from replicate_job.errors import DamagedError, JobError
from replicate_job.job import Job
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target

State = Literal["claimed", "intended", "uncertain", "created", "ended", "collected", "refused"]
"""How far a job came.

``claimed``: taken up, nothing sent. ``intended``: a create was sent or is about to be; the answer is not known.
``uncertain``: it could not be found out. ``created``: the prediction's id is known. ``ended``: it reached a terminal
status. ``collected``: its outputs are kept, or were not to be. ``refused``: certainly never created.
"""
UNFINISHED: tuple[State, ...] = ("claimed", "intended", "uncertain", "created", "ended")

_FILE = "replicate-job:file"
_LATEST = 32_503_680_000.0  # the year 3000


class Request(msgspec.Struct, frozen=True):
    """A create exactly as it is sent: its path, its body (JSON), and whom it names."""

    target: Target
    path: str
    body: bytes
    cancel_after: str | None = None

    @property
    def fingerprint(self) -> int:
        """The same 60 bits for two creates that the API's list cannot tell apart."""
        return int(hashlib.sha256(self.path.encode() + b"\0" + self.body).hexdigest()[:15], 16)

    @property
    def input(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.body)["input"]
        return found

    @property
    def version(self) -> str:
        """The version in the body, without its ``owner/name:``; empty for official models and deployments."""
        return str(msgspec.json.decode(self.body).get("version", "")).rpartition(":")[2]


class Entry(msgspec.Struct, frozen=True):
    """One job's row. Times are Unix seconds; ``api`` is the base URL it belongs to.

    ``save`` is the folder for outputs, None where they are not kept. ``batch`` is the id of the batch that the job is a
    row of. ``sends`` counts the creates that were sent
    or were about to be. ``first_sent`` and ``last_sent`` are the times of the first and the latest of them.
    """

    key: str
    api: str
    job: Job
    state: State
    claimed_at: float
    save: str | None = None
    request: Request | None = None
    sends: int = 0
    first_sent: float | None = None
    last_sent: float | None = None
    prediction_id: str | None = None
    prediction: Prediction | None = None
    files: tuple[Path, ...] = ()
    problem: str = ""
    batch: str | None = None


class BatchEntry(msgspec.Struct, frozen=True):
    """A batch: the file of its rows (empty for rows from Python), and the command that goes on with it.

    ``started_at`` is Unix time; ``unfinished`` counts its rows that were taken up and have not come to an end.
    """

    id: str
    api: str
    source: str
    command: str
    started_at: float
    unfinished: int = 0


class Claim(msgspec.Struct, frozen=True):
    """The right to act for a job. ``fence`` grows with every claim; facts of an older one are refused.

    ``intends``: its create was recorded with the claim, and is to be sent now.
    """

    entry: Entry
    fence: int
    intends: bool = False

    @property
    def key(self) -> str:
        return self.entry.key


class Adoption(msgspec.Struct, frozen=True):
    """What comparing the account's list with the journal gave: one id, none, or several that cannot be told apart.

    ``rivals_sent`` is when another job last sent the same request: these jobs take each other's predictions, so that
    only once the list shows all of them does it show that there is none for this one.
    """

    prediction_id: str | None = None
    unclear: tuple[str, ...] = ()
    rivals_sent: float | None = None


def check_entry(entry: Entry) -> Entry:
    """The entry itself. Raises ValueError, TypeError or KeyError for one as no release writes it."""
    if entry.state not in get_args(State):
        raise ValueError(f"its state is {entry.state!a}")
    for moment in (entry.claimed_at, entry.first_sent, entry.last_sent):
        if moment is not None and not 0 <= moment < _LATEST:
            raise ValueError(f"one of its times is {moment:g}")
    if entry.request:
        entry.request.input  # noqa: B018 - a body that cannot be read raises here
    for text in (entry.key, entry.api, entry.save, entry.prediction_id, entry.problem, entry.batch):
        (text or "").encode()
    return entry


def damaged(key: str, prediction_id: str | None, error: Exception) -> DamagedError:
    """The error for a row that could not be read, and ``error`` says why."""
    kept = f"`replicate-job show {prediction_id}` shows its prediction" if prediction_id else "to run it, name it anew"
    why = "nested too deep" if isinstance(error, RecursionError) else str(error)
    line = f"the journal's row of the job {key!r} is damaged ({why}): nothing is done for it; {kept}"
    return DamagedError(line.encode(errors="backslashreplace").decode(), key=key)


def encode_job(job: Job) -> bytes:
    """JSON of a Job; a local file (``pathlib.Path``) is kept as ``{"replicate-job:file": "/its/path"}``."""
    return msgspec.json.encode(job, enc_hook=_encode_path)


def decode_job(text: str | bytes) -> Job:
    """Read back what ``encode_job`` wrote."""
    job = msgspec.json.decode(text, type=Job)
    return msgspec.structs.replace(job, input_data=_with_paths(job.input_data))


def fingerprint(job: Job) -> str:
    """The same for two jobs that ask for the same prediction, whatever they say about waiting."""
    asked = [job.model, job.input_data]
    return hashlib.sha256(msgspec.json.encode(asked, enc_hook=_encode_path, order="deterministic")).hexdigest()


def is_same(job: Job, other: Job) -> bool:
    """Whether both ask for the same prediction."""
    return (job.model, job.input_data) == (other.model, other.input_data) or fingerprint(job) == fingerprint(other)


def _encode_path(value: Any) -> Any:
    if isinstance(value, Path):
        return {_FILE: str(value.absolute())}
    raise JobError(f"an input cannot hold a {type(value).__name__}: it must be JSON, or a pathlib.Path for a file")


def _with_paths(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_FILE} and isinstance(value[_FILE], str):
            return Path(value[_FILE])
        return {name: _with_paths(item) for name, item in value.items()}
    return [_with_paths(item) for item in value] if isinstance(value, list) else value
