"""The message and the exit code for an error or a status."""

from __future__ import annotations

import click

from replicate_job import base_errors as errors  # `errors` would import more than most commands need

SUCCEEDED, FAILED, WRONG, UNREACHABLE, CANCELED, UNFINISHED, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 4, 5, 130, 143

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (click.Abort, INTERRUPTED),
    (click.ClickException, WRONG),
    (errors.JobError, WRONG),
    (errors.InvalidRequestError, WRONG),
    (errors.TooLargeError, WRONG),
    (errors.ReplicateJobError, UNREACHABLE),
    (OSError, UNREACHABLE),
)
_STATUSES = {"succeeded": SUCCEEDED, "failed": FAILED, "canceled": CANCELED, "aborted": CANCELED}


def exit_code(error: BaseException) -> int:
    if isinstance(error, errors.ReplicateJobError) and isinstance(error, TimeoutError):  # a JobTimeoutError
        return UNFINISHED
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def status_code(status: str, *, waited: bool = True) -> int:
    """The exit code for a status.

    ``waited`` is False if the command did not wait for the end. Then a prediction that has not ended is a success.
    """
    return _STATUSES.get(status, UNFINISHED if waited else SUCCEEDED)


def explain(error: Exception) -> str | None:
    """The message for the user; None for an error that can only be a bug of this package."""
    match error:
        case click.Abort():
            return "interrupted"
        case click.exceptions.NoArgsIsHelpError():
            return error.format_message()
        case click.UsageError():
            usage = f"{error.ctx.get_usage()}\n" if error.ctx else ""
            return f"{usage}error: {error.format_message()}"
        case errors.InputError():
            return "\n  ".join([f"error: the input does not fit {error.model}:", *error.problems])
        case errors.ReplicateJobError() | click.ClickException() | OSError():
            name = getattr(error, "filename", None)
            return f"error: {name}: {error.strerror}" if isinstance(error, OSError) and name else f"error: {error}"
    return None
