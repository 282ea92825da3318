"""Every error that this package raises on purpose.

::

    ReplicateJobError
    ├── JobError                    the job is wrong; nothing was sent
    │   ├── UnknownJobError         no job of that key, and no prediction of that id
    │   ├── JobFileError            a job file does not parse; file, line, column
    │   ├── ColumnsError            the columns of a file of rows are not the model's inputs
    │   ├── InputError              inputs do not fit the model's schema; every problem at once
    │   ├── MissingVariableError    a variable that the job needs is not set
    │   ├── ModelNotFoundError      no model, version or deployment of that name
    │   ├── KeyInUseError           the key belongs to a different job
    │   └── RecordingError          a recording cannot be read or written, or lacks what was requested
    ├── APIError                    the API answered, and the answer is an error; every field of its body
    │   ├── AuthenticationError     401, 403
    │   ├── PaymentRequiredError    402
    │   ├── NotFoundError           404
    │   ├── InvalidRequestError     400, 422: the request itself is wrong
    │   └── RateLimitError          429, after waiting as long as is sensible
    ├── TransportError              no answer that can be read
    │   ├── NotSentError            certainly never reached the API (no connection)
    │   │   └── CertificateError    the server's certificate is not trusted; asking again gives the same
    │   └── NoAnswerError           may have reached it (reset, time-out, unreadable body)
    │       └── AnswerTooLargeError its answer is too large to be read; asking again gives the same
    ├── UncertainError              a prediction may exist, and none is certainly it; never sent again by itself
    ├── PredictionError             raised by ``Result.raise_for_status``
    │   ├── PredictionFailedError
    │   ├── PredictionCanceledError canceled or aborted
    │   ├── PredictionUnfinishedError  still running when the budget ran out
    │   │   └── JobTimeoutError     the timeout of the call is over; a TimeoutError too; the same key goes on
    │   └── RowError                a row of a batch: wrong, refused, or without its saved outputs
    ├── OutputError                 the prediction ended, and not all outputs could be saved; carries the result
    │   └── OutputExpiredError      they are gone from the API (404, 410, data_removed)
    ├── JournalError                the journal cannot be used
    │   ├── DamagedError            the journal's row of one job cannot be read
    │   ├── TooLargeError           one job is too large for the journal
    │   ├── JobHeldError            another live process holds this job
    │   └── ClaimLostError          another process took this job over
    ├── ClosedError                 the client is closed, or its event loop has ended
    ├── ForkedError                 this process is a fork of one that had used this package
    ├── WebhookVerificationError    a webhook that cannot be trusted, or a secret that cannot be read
    └── LocalError                  the built-in server or one of its models cannot start
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from replicate_job.job import Result


class ReplicateJobError(Exception):
    """Base of every error here. ``str(error)`` is one line for a person: what is wrong, where, what to do.

    ``about`` has the job that it is about, as far as known: ``key``, ``prediction``, ``model``, ``batch``. ``result``
    is the ``Result`` of a prediction that exists all the same, as far as known. It can be pickled, with its fields: it
    crosses pools of processes.
    """

    about: Mapping[str, str] = MappingProxyType({})
    result: Result | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # As exceptions do it, the constructor would be called with the message for all its arguments.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[ReplicateJobError], args: tuple[Any, ...], fields: dict[str, Any]) -> ReplicateJobError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(fields)
    return error


class JobError(ReplicateJobError):
    pass


class JobFileError(JobError):
    """Position is 1-based; ``column`` counts characters. ``hint`` is the usual cause, when one is known."""

    def __init__(
        self,
        message: str,
        *,
        file: str = "<string>",
        line: int | None = None,
        column: int | None = None,
        hint: str = "",
    ) -> None:
        self.message, self.file, self.line, self.column, self.hint = message, file, line, column, hint
        where = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{where}: {message}" + (f" ({hint})" if hint else ""))


class InputError(JobError):
    """``problems`` holds one line for each thing that is wrong."""

    def __init__(self, model: str, problems: Sequence[str]) -> None:
        self.model, self.problems = model, tuple(problems)
        super().__init__(f"the input does not fit {model}: " + "; ".join(self.problems))


class ColumnsError(JobError):
    """The columns of a file of rows do not fit the model's inputs: every row is wrong."""


class UnknownJobError(JobError):
    pass


class MissingVariableError(JobError):
    def __init__(self, name: str, advice: str) -> None:
        self.name = name
        super().__init__(f"the environment variable {name} is not set: {advice}")


class ModelNotFoundError(JobError):
    """``tried`` lists the API paths that answered 404."""

    def __init__(self, target: str, tried: Sequence[str], advice: str = "") -> None:
        self.target, self.tried = target, tuple(tried)
        advice = advice or "check the spelling, or whether the token may see it if it is private"
        super().__init__(f"{target} was not found (tried {', '.join(self.tried)}): {advice}")


class KeyInUseError(JobError):
    pass


class APIError(ReplicateJobError):
    """An HTTP error with the fields of the API's problem body.

    ``retry_after`` is in seconds. ``invalid_fields`` is the body's list of
    ``{"type", "field", "description"}``.
    """

    def __init__(  # noqa: PLR0913 - one argument a field of the problem body
        self,
        message: str,
        *,
        status: int,
        title: str = "",
        detail: str = "",
        type: str = "",  # noqa: A002 - the body's own name
        instance: str = "",
        invalid_fields: Sequence[dict[str, Any]] = (),
        retry_after: float | None = None,
    ) -> None:
        self.status, self.title, self.detail, self.type, self.instance = status, title, detail, type, instance
        self.invalid_fields, self.retry_after = tuple(invalid_fields), retry_after
        super().__init__(message)


class AuthenticationError(APIError):
    pass


class PaymentRequiredError(APIError):
    pass


class NotFoundError(APIError):
    pass


class InvalidRequestError(APIError):
    pass


class RateLimitError(APIError):
    pass


class TransportError(ReplicateJobError):
    pass


class NotSentError(TransportError):
    pass


class CertificateError(NotSentError):
    pass


class NoAnswerError(TransportError):
    pass


class AnswerTooLargeError(NoAnswerError):
    pass


class UncertainError(ReplicateJobError):
    """``key`` names the job in the journal; ``candidates`` are ids of predictions that may be it."""

    def __init__(self, message: str, *, key: str, candidates: Sequence[str] = ()) -> None:
        self.key, self.candidates = key, tuple(candidates)
        super().__init__(message)


class PredictionError(ReplicateJobError):
    """``result`` is the ``Result`` that was asked to raise."""

    result: Result

    def __init__(self, message: str, result: Result) -> None:
        self.result = result
        super().__init__(message)


class PredictionFailedError(PredictionError):
    pass


class PredictionCanceledError(PredictionError):
    pass


class PredictionUnfinishedError(PredictionError):
    pass


class JobTimeoutError(PredictionUnfinishedError, TimeoutError):
    """The ``timeout`` of a call is over. Its job is left as it is: the same key goes on with it, and pays once.

    ``result`` is the ``Result`` as last seen, and ``result.key`` names the job. Where no prediction is known, its
    ``prediction_id`` is empty, its status ``starting``, and the message says whether there can be one.
    """


class RowError(PredictionError):
    pass


class OutputError(ReplicateJobError):
    """``result`` is the whole ``Result``, with the saved files; None if it is not known yet.

    ``kept`` is a ``SavedFile`` for each of these files, in the order of the output.
    """

    result: Any

    def __init__(self, message: str, result: Any = None) -> None:
        self.result = result
        self.kept: tuple[Any, ...] = ()
        super().__init__(message)


class OutputExpiredError(OutputError):
    pass


class JournalError(ReplicateJobError):
    """``result`` is the ``Result`` of a prediction that exists all the same; None where nothing was created."""

    result: Any

    def __init__(self, message: str, result: Any = None) -> None:
        self.result = result
        super().__init__(message)


class DamagedError(JournalError):
    """``key`` names the job whose row of the journal cannot be read."""

    def __init__(self, message: str, *, key: str = "") -> None:
        self.key = key
        super().__init__(message)


class TooLargeError(JournalError):
    pass


class JobHeldError(JournalError):
    """``until`` is the Unix time at which the holder's lease ends unless it is renewed."""

    def __init__(self, message: str, *, until: float) -> None:
        self.until = until
        super().__init__(message)


class ClaimLostError(JournalError):
    pass


class ClosedError(ReplicateJobError):
    def __init__(self, message: str = "this client is closed: open another") -> None:
        super().__init__(message)


class ForkedError(ReplicateJobError):
    """Threads do not come along with a fork: those of the HTTP library, of the journal and of a blocking call."""

    def __init__(self) -> None:
        super().__init__(
            "this process was forked from one that had used replicate-job, whose threads stayed behind: open it after "
            'the fork, or start processes with multiprocessing\'s "spawn" or "forkserver"'
        )


class WebhookVerificationError(ReplicateJobError):
    pass


class LocalError(ReplicateJobError):
    pass


class RecordingError(JobError):
    pass
