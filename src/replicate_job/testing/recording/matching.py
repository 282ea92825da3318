"""Compares a request with recorded requests, and explains how it differs from the most similar one."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.errors import JobError
from replicate_job.inputs.secrets import REDACTED
from replicate_job.testing.recording.cleaning import SECRET_NAME
from replicate_job.wire.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from replicate_job.testing.recording.tape import Question

_SHOWN = 60
"""The most characters of a value that a message shows."""
_MOST = 4
"""The most differences that a message lists."""
_ABSENT = object()


def is_same(recorded: Question, asked: Question) -> bool:
    """Whether a request equals a recorded one. JSON is compared by value, and files by content.

    A redacted secret equals any value.
    """
    return (recorded.method, recorded.path, recorded.upload) == (asked.method, asked.path, asked.upload) and not any(
        _differences(recorded.body, asked.body, "")
    )


def explain(asked: Question, recorded: Iterable[Question]) -> str:
    """Name the most similar recorded request, and say how ``asked`` differs from it, in one line."""
    candidates = [one for one in recorded if one.method == asked.method]
    same_path = [one for one in candidates if one.path == asked.path]
    if not same_path:
        others = sorted({f"{one.method} {one.path}" for one in candidates}, key=lambda text: -_common(text, asked))
        return f"the nearest that is recorded is {others[0]}" if others else f"no {asked.method} is recorded"
    compared = [list(_compare(one, asked)) for one in same_path]
    found = min(compared, key=len)
    if not found:
        times = "once" if compared.count([]) == 1 else f"{compared.count([])} times"
        return f"it is recorded {times}, and was requested once more"
    more = f", and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return f"the nearest that is recorded differs in {'; '.join(found[:_MOST])}{more}"


def _common(text: str, asked: Question) -> int:
    """How many characters at the beginning of ``text`` and of the request's method and path are the same."""
    path = f"{asked.method} {asked.path}"
    return next((n for n, (a, b) in enumerate(zip(text, path, strict=False)) if a != b), min(len(text), len(path)))


def _compare(recorded: Question, asked: Question) -> Iterator[str]:
    if recorded.upload != asked.upload:
        yield f"the file's content: {recorded.upload[:12]}… was recorded, {asked.upload[:12]}… requested"
    yield from _differences(recorded.body, asked.body, "")


def _differences(recorded: Any, asked: Any, where: str) -> Iterator[str]:
    """Describe the differences of two JSON values. A field that is null equals a missing one."""
    if isinstance(recorded, dict) and isinstance(asked, dict):
        for name in dict.fromkeys((*recorded, *asked)):
            here = f"{where}.{name}" if where else name
            yield from _differences(recorded.get(name), asked.get(name), here)
    elif isinstance(recorded, list) and isinstance(asked, list):
        for index in range(max(len(recorded), len(asked))):
            ours, theirs = (values[index] if index < len(values) else _ABSENT for values in (recorded, asked))
            yield from _differences(ours, theirs, f"{where}[{index}]")
    elif not _is_equal(recorded, asked):
        yield f"{where or 'the body'}: {_shown(recorded, where)} was recorded, {_shown(asked, where)} requested"


def _is_equal(recorded: Any, asked: Any) -> bool:
    if recorded == REDACTED:
        return asked is not None
    if isinstance(recorded, bool) or isinstance(asked, bool):
        return recorded is asked
    return bool(recorded == asked)


def _shown(value: Any, where: str) -> str:
    if value is None or value is _ABSENT:
        return "nothing"
    if SECRET_NAME.search(where):
        return "another secret"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def targets(request: Question, state: dict[str, Any] | None = None) -> set[str]:
    """All names of the model that a create request runs.

    ``state`` is the object of the prediction that the request created, None if it is not known.
    """
    parts = request.path.partition("?")[0].split("/")
    names = {"/".join(parts[2:5])} if parts[2] in {"models", "deployments"} else set()
    version = request.body.get("version") if isinstance(request.body, dict) else None
    if isinstance(version, str):
        names |= {version}
        with suppress(JobError):
            target = parse_target(version)
            names |= {f"models/{target.slug}"} if target.slug else {target.version}
    if state and "deployments" not in parts:
        names |= {f"models/{state.get('model')}", str(state.get("version"))}
    return names - {"", "hidden", "None"}
