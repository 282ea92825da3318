"""The errors that do not need ``Result``, for the modules that ``Result`` itself needs.

These modules, and the modules that every command imports at its start, import their errors from here. All other modules
import them from ``errors``, which has every error and shows the tree of errors. Errors with a field of the type
``Result`` are in ``job``, because ``Result`` raises them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


class ReplicateJobError(Exception):
    """Base of all errors of this package. ``str(error)`` is one line: what is wrong, where, and what to do.

    ``about`` maps ``key``, ``prediction``, ``model`` and ``batch`` to the job's values, as far as they are known.
    ``result`` is the ``Result`` if a prediction exists in spite of the error. The error can be pickled with its fields,
    so that it can be passed between processes.
    """

    about: Mapping[str, str] = MappingProxyType({})
    result: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, pickle would call the constructor with only the message.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[ReplicateJobError], args: tuple[Any, ...], fields: dict[str, Any]) -> ReplicateJobError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(fields)
    return error


class JobError(ReplicateJobError):
    pass


class JobFileError(JobError):
    """``line`` and ``column`` are 1-based; ``column`` counts characters. ``hint`` is the usual cause, if known."""

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
    """``problems`` has one line for each problem."""

    def __init__(self, model: str, problems: Sequence[str]) -> None:
        self.model, self.problems = model, tuple(problems)
        super().__init__(f"the input does not fit {model}: " + "; ".join(self.problems))


class ColumnsError(JobError):
    """The columns of a file of rows do not fit the model's inputs, so every row is wrong."""


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


class BatchCanceledError(JobError):
    pass


class APIError(ReplicateJobError):
    """An HTTP error with the fields of the API's problem body.

    ``retry_after`` is in seconds. ``invalid_fields`` is the body's list of
    ``{"type", "field", "description"}``.
    """

    def __init__(  # noqa: PLR0913 - the fields of the problem body
        self,
        message: str,
        *,
        status: int,
        title: str = "",
        detail: str = "",
        type: str = "",  # noqa: A002 - the problem body's name
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


class UnreadableError(NoAnswerError):
    pass


class UncertainError(ReplicateJobError):
    """``key`` names the job in the journal; ``candidates`` are ids of predictions that may be the job's."""

    def __init__(self, message: str, *, key: str, candidates: Sequence[str] = ()) -> None:
        self.key, self.candidates = key, tuple(candidates)
        super().__init__(message)


class OutputError(ReplicateJobError):
    """``result`` is the whole ``Result``, with the saved files; None if the result is not known yet.

    ``kept`` has a ``SavedFile`` for each saved file, in the order of the output.
    """

    result: Any

    def __init__(self, message: str, result: Any = None) -> None:
        self.result = result
        self.kept: tuple[Any, ...] = ()
        super().__init__(message)


class OutputExpiredError(OutputError):
    pass


class JournalError(ReplicateJobError):
    """``result`` is the ``Result`` of a prediction that exists in spite of the error. None if nothing was created."""

    result: Any

    def __init__(self, message: str, result: Any = None) -> None:
        self.result = result
        super().__init__(message)


class DamagedError(JournalError):
    """``key`` is the key of the job whose row in the journal cannot be read."""

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
    """A fork lacks its parent's threads: the threads of the HTTP library, of the journal and of a blocking call."""

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
