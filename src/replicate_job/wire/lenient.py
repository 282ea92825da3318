"""The second reading of a response that cannot be decoded: what can be read of it is used.

A model may write half of a surrogate pair, a number that is too large, or thousands of nested lists. The decoder then
refuses the whole response, and with it the prediction's id and status.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, cast

import msgspec

from replicate_job.decoding import REFUSED, convert, decode
from replicate_job.wire.prediction import MendedPrediction, Prediction, PredictionId, PredictionPage, RawPage

_T = TypeVar("_T")

_DEEPEST = 200
"""The most levels of objects and lists in one value. All code that handles a value can handle this many."""
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{},]', re.DOTALL)
"""A string, a bracket or a comma. The other parts of JSON do not matter for finding the parts of a value."""
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)|([\ud800-\udfff])",
    re.DOTALL,
)
"""An escape in a string, or a byte that is not UTF-8. What a group matches is replaced: half of a pair, such a byte."""
_REPLACEMENT = r"\ufffd"
_FIELDS = frozenset(Prediction.__struct_fields__)


def mend(body: bytes, kind: type[_T]) -> _T:
    """Decode a response that ``decode`` has refused. Raises what ``decode`` raises, or another ValueError.

    A page's predictions are read one by one. A page is refused if one of them cannot be read at all.
    """
    text = _text_of(body)
    if kind is Prediction:
        return cast("_T", _read_prediction(text))
    if kind is RawPage or kind is PredictionPage:
        page = _read_page(text)
        return cast("_T", page if kind is RawPage else _read_items(page))
    return convert(_Reader().read(text), kind)


def mend_id(body: bytes) -> str:
    """The id in a response about a prediction of which nothing else can be read. Raises as ``mend``."""
    return convert(_read_text(dict(_split_object(_text_of(body)))["id"]), PredictionId)


def _read_prediction(text: str) -> Prediction:
    fields: dict[str, Any] = {}
    replaced: list[str] = []
    lost: list[str] = []
    for name, part in _split_object(text):
        if name not in _FIELDS:
            continue
        reader = _Reader()
        try:
            fields[name] = reader.read(part)
            convert({"id": "-", "status": "-", name: fields[name]}, Prediction)
        except (ValueError, RecursionError):
            fields.pop(name, None)
            lost.append(name)
        else:
            if reader.has_replaced:
                replaced.append(name)
    if not (replaced or lost):  # only fields that nothing uses cannot be decoded
        return convert(fields, Prediction)
    return convert(fields | {"replaced": replaced, "lost": lost}, MendedPrediction)


def _read_items(page: RawPage) -> PredictionPage:
    return PredictionPage([_read_item(item) for item in page.results], page.next, page.previous)


def _read_item(item: msgspec.Raw) -> Prediction:
    try:
        return decode(item, Prediction)
    except REFUSED:
        return _read_prediction(_text_of(bytes(item)))


def _read_page(text: str) -> RawPage:
    fields = dict(_split_object(text))
    links = {name: _read_text(fields[name]) for name in ("next", "previous") if name in fields}
    items = [msgspec.Raw(item.encode(errors="surrogateescape")) for item in _split(fields.get("results", ""), "[")]
    page = convert(links | {"results": []}, PredictionPage)
    return RawPage(items, page.next, page.previous)


def _text_of(body: bytes) -> str:
    """The body as text. A byte that is not UTF-8 becomes half of a surrogate pair."""
    return body.decode(errors="surrogateescape")


def _split_object(text: str) -> Iterator[tuple[str, str]]:
    """The name and the text of each value of an object."""
    for part in _split(text, "{"):
        name = _TOKEN.match(part.lstrip())
        if name is None or name[0][0] != '"':
            raise ValueError("an object needs names")
        yield _read_text(name[0]), part.lstrip()[name.end() :].lstrip().removeprefix(":")


def _split(text: str, bracket: str) -> Iterator[str]:
    """The parts between the commas of an object or a list, which is not nested deeper. Raises ValueError if it is cut.

    It needs no recursion, so it can split a value around a part of any depth.
    """
    depth = start = end = 0
    if text.lstrip()[:1] != bracket:
        raise ValueError(f"it does not begin with {bracket}")
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "{" | "[":
                depth += 1
                if depth == 1:
                    start = token.end()
            case "}" | "]":
                depth -= 1
                end = token.end()
                if depth == 0 and (part := text[start : token.start()]).strip():
                    yield part
            case "," if depth == 1:
                yield text[start : token.start()]
                start = token.end()
        if depth == 0:
            break
    if depth or text[end:].strip():
        raise ValueError("it has no end, or goes on after its end")


def _read_text(text: str) -> Any:
    return _Reader().read(text)


class _Reader:
    """Reads one value. ``has_replaced``: something in it was replaced."""

    def __init__(self) -> None:
        self.has_replaced = False
        self._decoder = json.JSONDecoder(
            parse_float=self._number, parse_int=self._number, parse_constant=self._constant, strict=False
        )

    def read(self, text: str) -> Any:
        """Raises ValueError or RecursionError for what is not JSON, or is nested too deep."""
        value = self._decoder.decode(_ESCAPE.sub(self._escape, text))
        if _is_deep(value):
            raise ValueError("it is nested too deep")
        return value

    def _number(self, text: str) -> Any:
        try:
            return msgspec.json.decode(text)  # what it refuses could not be read again from the journal
        except msgspec.DecodeError:
            self.has_replaced = True
            return text

    def _constant(self, _name: str) -> None:
        self.has_replaced = True

    def _escape(self, escape: re.Match[str]) -> str:
        if not (escape[1] or escape[2]):
            return escape[0]
        self.has_replaced = True
        return _REPLACEMENT


def _is_deep(value: Any) -> bool:
    level, depth = [value], 0
    while level := [item for each in level for item in _items(each)]:
        depth += 1
        if depth > _DEEPEST:
            return True
    return False


def _items(value: Any) -> Iterable[Any]:
    """The items of an object or a list that hold items themselves."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, dict | list)]
