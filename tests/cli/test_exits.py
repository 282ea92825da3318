from __future__ import annotations

import errno
import inspect

import click
import pytest

from replicate_job import errors
from replicate_job.cli.exits import exit_code, explain, status_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.JobFileError("bad", file="run.xs", line=1, column=2), 2),
        (errors.InputError("a/b", ["x is required"]), 2),
        (errors.MissingVariableError("X", "set it"), 2),
        (errors.ModelNotFoundError("a/b", ["GET /models/a/b"]), 2),
        (errors.KeyInUseError("taken"), 2),
        (errors.InvalidRequestError("422", status=422), 2),
        (errors.AuthenticationError("401", status=401), 3),
        (errors.PaymentRequiredError("402", status=402), 3),
        (errors.RateLimitError("429", status=429), 3),
        (errors.NotSentError("no connection"), 3),
        (errors.UncertainError("unknown", key="k"), 3),
        (errors.OutputExpiredError("gone"), 3),
        (errors.JournalError("locked"), 3),
        (errors.LocalError("no venv"), 3),
        (OSError(errno.ENOSPC, "No space left on device"), 3),
        (click.UsageError("no such option"), 2),
        (click.Abort(), 130),
        (ZeroDivisionError(), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_every_exception_class_of_the_package_is_explained_to_the_user_by_its_message() -> None:
    kinds = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.ReplicateJobError) and kind.__init__ is errors.ReplicateJobError.__init__
    ]
    assert len(kinds) > 5
    assert [explain(kind("what, where, what to do")) for kind in kinds] == ["error: what, where, what to do"] * len(
        kinds
    )


def test_each_problem_of_an_input_has_a_line_of_its_own() -> None:
    assert explain(errors.InputError("a/b", ["x is required", "y: must be 1 or more"])) == (
        "error: the input does not fit a/b:\n  x is required\n  y: must be 1 or more"
    )


def test_an_error_of_the_operating_system_names_the_file_and_not_the_error_number() -> None:
    assert explain(OSError(errno.EACCES, "Permission denied", "out/x")) == "error: out/x: Permission denied"
    assert explain(OSError("stdout cannot be written")) == "error: stdout cannot be written"


def test_an_unexpected_exception_has_no_message_for_the_user() -> None:
    assert explain(ZeroDivisionError()) is None


@pytest.mark.parametrize(
    ("status", "waited", "not_waited"),
    [
        ("succeeded", 0, 0),
        ("failed", 1, 1),
        ("canceled", 4, 4),
        ("aborted", 4, 4),
        ("starting", 5, 0),
        ("processing", 5, 0),
        ("something new", 5, 0),
    ],
)
def test_a_status_has_its_exit_code(status: str, waited: int, not_waited: int) -> None:
    assert status_code(status) == waited
    assert status_code(status, waited=False) == not_waited
