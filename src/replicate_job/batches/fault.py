"""Whose fault an error is: one row's, or that of all that follow."""

from __future__ import annotations

from replicate_job.errors import (
    APIError,
    AuthenticationError,
    DamagedError,
    JobError,
    MissingVariableError,
    ModelNotFoundError,
    OutputError,
    PaymentRequiredError,
    RateLimitError,
    ReplicateJobError,
    TooLargeError,
    UncertainError,
)


def is_the_rows(error: ReplicateJobError) -> bool:
    """Whether other rows may fare better. If not, going on would only fail them one by one.

    No credit, a wrong token, no such model, an API or a network that is down, a journal or a disk that cannot be
    written: these are everybody's.
    """
    match error:
        case AuthenticationError() | PaymentRequiredError() | RateLimitError():
            return False
        case ModelNotFoundError() | MissingVariableError():
            return False
        case APIError():
            return error.status < 500  # noqa: PLR2004 - HTTP's server errors
        case OutputError():
            return not isinstance(error.__cause__, OSError)
        case JobError() | UncertainError() | TooLargeError() | DamagedError():
            return True
    return False
