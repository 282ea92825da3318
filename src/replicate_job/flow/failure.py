"""Why a prediction has nothing good to show: a table of what public models say. No I/O.

Sources: Replicate's list of error codes, https://replicate.com/docs/reference/error-codes (E1000 to E9825); the errors
with which Replicate's models of other companies end, E001 to E005; the error that its platform gives a prediction whose
machine was taken away, ``Prediction interrupted; please retry (code: PA)``, as in
https://github.com/replicate/cog-whisper/issues/1; Cog's, for a model process that died, as in
https://github.com/replicate/cog/issues/960; what image models say of unsafe pictures, as in
https://github.com/replicate/cog-stable-diffusion/pull/24. ``Director: unexpected error handling prediction (E9828)``
has a code that is in no list: programs in public repositories send such inputs again, and most succeed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from replicate_job.outputs.promise import broken_promise

if TYPE_CHECKING:
    from collections.abc import Mapping

Failure = Literal["", "failed", "interrupted", "empty", "refused", "wrong input", "canceled"]
"""Why there is no result; empty where there is one, or where its end is not known.

``interrupted``: by the machines that it ran on, or it never began. ``empty``: it succeeded with null, or without a file
that its schema promises. ``failed``: any other error of the model. ``refused``: for its content. ``wrong input``: the
caller's mistake. ``canceled``: by somebody, or by its deadline.
"""
RETRIED: tuple[Failure, ...] = ("failed", "interrupted", "empty")
"""Reasons that are the model's, or its machines': what may be tried again, or with another model."""

_TABLE: tuple[tuple[str, Failure], ...] = (
    # Content: first, for such an error may also say "try again" (with another prompt).
    (r"\(E005\)|flagged as sensitive", "refused"),
    (r"\bnsfw\b|not safe for work", "refused"),
    (r"(content|safety|usage|moderation) (policy|policies|filter|system|checker|guidelines)", "refused"),
    (r"\bmoderat(ed|ion)\b|(unsafe|sensitive|prohibited|inappropriate|explicit) (content|words?|images?)", "refused"),
    # What another attempt cannot mend, as the list of codes says. Llama's E1001 is another than the platform's.
    (r"\bE4875\b", "wrong input"),
    (r"\bE1\d{3} (PromptRequired|BadPromptTemplate|PromptTemplateError|InvalidArgument\w*)", "wrong input"),
    (r"\bE1002 PromptTooLong", "failed"),
    (r"\bE1001\b|out of memory\. tried to allocate|cuda out of memory", "failed"),
    # The platform, and the services behind official models.
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
"""Characters of an error that are read, of its beginning and of its end."""


def why(
    status: str,
    error: Any,
    output: Any,
    schema: Mapping[str, Any] | None,
    *,
    is_removed: bool = False,
) -> Failure:
    """Why a prediction with this end has no result. ``is_removed``: the API has deleted its data since."""
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
    """The reason that the error of a failed prediction names."""
    text = error if isinstance(error, str) else msgspec.json.encode(error, enc_hook=str).decode()
    text = text if len(text) <= 2 * _READ else f"{text[:_READ]} {text[-_READ:]}"
    return next((failure for rule, failure in _RULES if rule.search(text)), "failed")
