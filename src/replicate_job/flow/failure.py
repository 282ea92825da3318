"""Finds the reason why a prediction has no usable result, with a table of error texts of public models. No I/O.

Sources: Replicate's list of error codes, https://replicate.com/docs/reference/error-codes (E1000 to E9825); the errors
E001 to E005 of other companies' models on Replicate; the platform's error for a prediction whose machine
was taken away, ``Prediction interrupted; please retry (code: PA)``, as in
https://github.com/replicate/cog-whisper/issues/1; Cog's error for a model process that died, as in
https://github.com/replicate/cog/issues/960; the errors of image models about unsafe pictures, as in
https://github.com/replicate/cog-stable-diffusion/pull/24. The code of ``Director: unexpected error handling prediction
(E9828)`` is in no list; programs in public repositories send the same input again, and most of these predictions
succeed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from replicate_job.outputs.promise import broken_promise

if TYPE_CHECKING:
    from collections.abc import Mapping

Failure = Literal["", "failed", "interrupted", "empty", "refused", "wrong input", "canceled"]
"""The reason why a prediction has no result; empty if it has a result, or if its end is not known.

``interrupted``: the platform ended the prediction, or the prediction never started. ``empty``: the prediction succeeded
with null, or without a file that the schema promises. ``refused``: the content was not allowed. ``wrong input``: the
caller made a mistake. ``canceled``: a user or the deadline canceled it. ``failed``: any other error of the model.
"""
RETRIED: tuple[Failure, ...] = ("failed", "interrupted", "empty")
"""Failures of the model or of the platform. Another attempt, or another model, may succeed."""

_TABLE: tuple[tuple[str, Failure], ...] = (
    # Content rules come first: an error about content may also say "try again" (with another prompt).
    (r"\(E005\)|flagged as sensitive", "refused"),
    (r"\bnsfw\b|not safe for work", "refused"),
    (r"(content|safety|usage|moderation) (policy|policies|filter|system|checker|guidelines)", "refused"),
    (r"\bmoderat(ed|ion)\b|(unsafe|sensitive|prohibited|inappropriate|explicit) (content|words?|images?)", "refused"),
    # Errors from Replicate's list of codes that the same request would get again. E1001 has two meanings: a missing
    # prompt for a Llama model, and too little memory on the platform.
    (r"\bE4875\b", "wrong input"),
    (r"\bE1\d{3} (PromptRequired|BadPromptTemplate|PromptTemplateError|InvalidArgument\w*)", "wrong input"),
    (r"\bE1002 PromptTooLong", "failed"),
    (r"\bE1001\b|out of memory\. tried to allocate|cuda out of memory", "failed"),
    # Errors of the platform, and of the services behind official models.
    (r"\(code: PA\)|prediction interrupted", "interrupted"),
    (r"director: unexpected error", "interrupted"),
    (r"\bE(1000|6716|8367|8765|9243|9825|9828)\b", "interrupted"),
    (r"timeout starting prediction|health ?check failed|stopped in non-terminal state", "interrupted"),
    (r"\(E00[34]\)|(currently|temporarily) unavailable|high demand", "interrupted"),
    (r"please (retry|try again later)", "interrupted"),
    (r"too many requests|rate.?limit|resource.?exhausted", "interrupted"),
    (r"(bad gateway|gateway time-?out|service unavailable|internal server error)", "interrupted"),
    (r"failed for an unknown reason.*\(exitcode -?\d+\)", "interrupted"),
)
_RULES = tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), failure) for pattern, failure in _TABLE)
_READ = 4000
"""The number of characters that are read at the beginning and at the end of an error."""


def why(
    status: str,
    error: Any,
    output: Any,
    schema: Mapping[str, Any] | None,
    *,
    is_removed: bool = False,
) -> Failure:
    """The reason why a prediction with this end has no result. ``is_removed``: the API has deleted its data."""
    match status:
        case "succeeded":
            is_empty = not is_removed and (output is None or bool(broken_promise(output, schema)))
            return "empty" if is_empty else ""
        case "failed":
            return read_error(error)
        case "canceled" | "aborted":
            return "canceled"
    return ""


def read_error(error: Any) -> Failure:
    """Classify the error of a failed prediction."""
    text = error if isinstance(error, str) else msgspec.json.encode(error, enc_hook=str).decode()
    text = text if len(text) <= 2 * _READ else f"{text[:_READ]} {text[-_READ:]}"
    return next((failure for rule, failure in _RULES if rule.search(text)), "failed")
