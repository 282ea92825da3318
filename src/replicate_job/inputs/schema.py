"""Checks an input against the model's schema, before anything is paid for."""

from __future__ import annotations

import re
from functools import cached_property
from math import isfinite, log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.inputs.content import Content
from replicate_job.inputs.flaws import are_plain, flaws, is_unicode
from replicate_job.wire.openapi import Schema, compile_input, definition, json_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from jsonschema_rs import Draft202012Validator, ValidationError

_FILE = "\0file:"  # begins the text that stands for a file in the validator. No user's text contains a NUL.
_HOST = r"//[^\s/?#]*[^\s/?#@:][^\s/?#]*"
_SEVERAL = r"(?i)[\s,;|]https?://"
_RATIO = r"(?a)([1-9]\d{0,5}):([1-9]\d{0,5})"
_REMEMBERED = 1000  # the most misspelled names that are cached with the closest input
_SHOWN = 60  # the most characters of a value that a message repeats
_NAMED = {"integer": "an integer", "object": "an object", "array": "a list", "boolean": "true or false"}
_RENAMED = {"oneOf": "anyOf"}  # oneOf would refuse 3, which is both an integer and a number
_ANNOTATIONS = {"default", "example", "examples", "title", "description"}
_PLAIN = _ANNOTATIONS | {"type", "x-order"}  # the keywords of an input that is checked without the validator
_KINDS = {"string": str, "integer": int, "boolean": bool}


class Checker:
    """Checks any number of inputs against a model version's ``openapi_schema``, which is compiled once.

    Without an ``Input`` in the document, nothing is checked. Of a broken ``Input``, only the intact parts are checked.
    ``secrets`` are the names of inputs whose values are not shown in messages.
    """

    def __init__(self, document: Mapping[str, Any] | None, secrets: Collection[str] = ()) -> None:
        schema = definition(document, "Input")
        found = (schema or {}).get("properties")
        self._properties: dict[str, Any] | None = found if isinstance(found, dict) else None
        self._knows = schema is not None
        self._document = document
        self._plain = _plain_inputs(schema or {})
        self._likes: dict[str, str] = {}
        self._secrets = secrets

    @cached_property
    def _validator(self) -> Draft202012Validator | None:
        return _compile(self._document) if self._document and self._knows else None

    def check(
        self, values: Mapping[str, Any], *, allow_unknown: bool = False, later: Collection[str] = ()
    ) -> list[str]:
        """One line for each problem, with the name of the input; empty if the input fits.

        ``allow_unknown`` accepts names that the schema lacks, except those that look like a mistyped input: the user
        would pay for that input's default. ``later`` are names of inputs whose values are not known yet.

        A ``pathlib.Path`` or a ``Content`` is a file to send. It fits an input with ``format: uri`` or without a type.
        It does not fit a text input, which would get the file's URL and not its text.
        """
        if not self._knows:
            return []
        if not later and self._fits(values):
            return []
        problems = flaws(values, self._secrets)
        instance = _json(values)
        known = self._properties
        if known is not None:
            unknown = [name for name in (*instance, *later) if name not in known]
            instance = {name: value for name, value in instance.items() if name in known}
            problems += self._judge_unknown(unknown, instance, allow_unknown=allow_unknown)
        if self._validator is None:
            return [_printable(problem) for problem in problems]
        # A value that is not JSON is reported already. The null that replaces it must not be reported too.
        wrong = {problem.partition(":")[0] for problem in problems}
        found = (line for error in self._validator.iter_errors(instance) for line in _explain(error, self._secrets))
        missing = {f"{name} is required" for name in later}
        problems += dict.fromkeys(line for line in found if line.partition(":")[0] not in wrong and line not in missing)
        return [_printable(problem) for problem in problems]

    def _judge_unknown(self, unknown: Sequence[str], given: Mapping[str, Any], *, allow_unknown: bool) -> list[str]:
        """A line for each refused name. With ``allow_unknown``, only names that look mistyped are refused.

        A name does not count as mistyped if the similar input is ``given`` too.
        """
        lines = []
        for name in unknown:
            close = self._close(name)
            if close and not (allow_unknown and close in given):
                lines.append(f"{name} is not an input of this model, did you mean {close}?")
            elif not allow_unknown:
                takes = _listed(list(self._properties or ()))
                lines.append(f"{name} is not an input of this model, which takes {takes}")
        return lines

    def _close(self, name: str) -> str:
        """The input with the closest name; empty if none is close.

        Cached, since all rows of a batch may have that name.
        """
        if name not in self._likes:
            if len(self._likes) >= _REMEMBERED:
                self._likes.clear()
            self._likes[name] = _nearest(name.lower(), list(self._properties or ()))
        return self._likes[name]

    def _fits(self, values: Mapping[str, Any]) -> bool:
        """A quick check for most inputs. True: the input fits. False: the slower check is needed."""
        if not (values.keys() <= (self._properties or {}).keys() and are_plain(values)):
            return False
        return self._fits_plainly(values) or (self._validator is not None and self._validator.is_valid(values))

    def _fits_plainly(self, values: Mapping[str, Any]) -> bool:
        """Whether the input fits without the validator, which takes milliseconds to import and to compile."""
        if self._plain is None:
            return False
        kinds, required = self._plain
        if not required <= values.keys():
            return False
        for name, value in values.items():
            if type(value) is not kinds.get(name) or (type(value) is str and value.startswith(_FILE)):
                return False
        return True


def _plain_inputs(schema: Schema) -> tuple[dict[str, type], frozenset[str]] | None:
    """The Python types of the inputs of which only the type matters, and the names of the required inputs.

    None if the schema says more than that about all inputs together.
    """
    properties, required = schema.get("properties"), schema.get("required", [])
    if not (schema.keys() <= _PLAIN | {"properties", "required"} and schema.get("type") == "object"):
        return None
    if not (
        isinstance(properties, dict) and isinstance(required, list) and all(isinstance(name, str) for name in required)
    ):
        return None
    kinds = {
        name: _KINDS[found["type"]]
        for name, found in properties.items()
        if isinstance(found, dict) and found.keys() <= _PLAIN and found.get("type") in tuple(_KINDS)
    }
    return kinds, frozenset(required)


def _json(value: Any) -> Any:
    """The value in JSON's types: files are marked strings, and a value without a JSON form is null."""
    match value:
        case Path() | Content():
            return f"{_FILE}{value}"
        case float() if not isfinite(value):
            return None
        case str() | bool() | int() | float() | None:
            return value if not isinstance(value, str) or is_unicode(value) else None
        case dict():
            return {str(key): _json(item) for key, item in value.items()}
        case list() | tuple():
            return [_json(item) for item in value]
    return None


def _compile(document: Mapping[str, Any]) -> Draft202012Validator | None:
    """Compile the schema without its broken parts, which only the API can check. None if no part is left."""
    import jsonschema_rs  # noqa: PLC0415 - imported only when there is something to check

    adapted = json_schema(document, _checked)
    adapted["components"]["schemas"]["Input"].pop("additionalProperties", None)  # unknown names have their own message

    def build(root: Schema) -> Draft202012Validator:
        # Offline, since references in the schema, which the model's author wrote, must not cause requests.
        return jsonschema_rs.Draft202012Validator(
            root, formats={"uri": _is_uri}, validate_formats=True, mask="it", offline=True
        )

    return compile_input(adapted, build)


def _checked(schema: Schema) -> Schema:
    """The schema as it is checked: ``uri`` is the only format that is checked, and a text input refuses a file."""
    checked = {_RENAMED.get(key, key): value for key, value in schema.items() if key not in _ANNOTATIONS}
    if checked.get("format") != "uri":
        checked.pop("format", None)  # no server checks the other formats
        if checked.get("type") == "string":
            checked = {"not": {"type": "string", "pattern": f"^{_FILE}"}, **checked}
    return checked


def _is_uri(text: str) -> bool:
    return text.startswith(_FILE) or not _uri_problem(text)


def _uri_problem(text: str) -> str:
    """The reason why a model cannot read the text as a URL; empty if it can."""
    scheme, _, rest = text.partition(":")
    if scheme.lower() == "data":
        return "" if "," in rest else "is a data URL without data"
    if scheme.lower() not in {"http", "https"}:
        return "is neither an http(s) nor a data URL; a local file is @path (in Python a pathlib.Path)"
    if re.search(_SEVERAL, text):
        return "holds several URLs, and this input takes one"
    if any(map(str.isspace, text)):
        return "has blanks, which a URL has as %20"
    return "" if re.match(_HOST, rest) else "names no host"


def _explain(error: ValidationError, secrets: Collection[str]) -> Iterator[str]:
    where, path = "", list(error.instance_path)
    for step in path:
        where = f"{where}[{step}]" if isinstance(step, int) else _join(where, step)
    found, kind = error.instance, error.kind
    file = found.removeprefix(_FILE) if isinstance(found, str) and found.startswith(_FILE) else ""
    if path and path[0] in secrets and not file:
        yield f"{path[0]}: the secret does not fit ({kind.name})"
    elif kind.name == "anyOf":
        yield from _closest(error, where, secrets)
    elif kind.name == "required":
        yield f"{_join(where, kind.as_dict()['property'])} is required"
    elif file and kind.name in {"not", "type", "enum"}:
        yield f"{where}: takes no file, and {file} is one"
    else:
        say = _SAYINGS.get(kind.name)
        yield f"{where}: " + (say(found, kind.as_dict()) if say else error.message.removeprefix("it "))


def _closest(error: ValidationError, where: str, secrets: Collection[str]) -> Iterator[str]:
    """The errors of the probably intended alternative, or one line that joins the errors of all alternatives."""
    branches = [branch for branch in error.kind.as_dict()["context"] if not _wants_null(branch)]
    typed = [branch for branch in branches if all(problem.kind.name != "type" for problem in branch)] or branches
    if len(typed) == 1:
        for problem in typed[0]:
            yield from _explain(problem, secrets)
    else:
        lines = [
            line.removeprefix(f"{where}: ")
            for branch in typed
            for problem in branch
            for line in _explain(problem, secrets)
        ]
        yield f"{where}: " + ", and ".join(dict.fromkeys(lines))


def _wants_null(branch: Sequence[ValidationError]) -> bool:
    return any(problem.kind.name == "type" and problem.kind.as_dict()["types"] == ["null"] for problem in branch)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _show(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 2]}…{text[-1]}"


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(name if isinstance(name, str) else _show(name) for name in names)


def _not_type(value: Any, kind: Mapping[str, Any]) -> str:
    names = [_NAMED.get(name, "null" if name == "null" else f"a {name}") for name in kind["types"]]
    return f"{_show(value)} is not {' or '.join(names)}"


def _not_choice(value: Any, kind: Mapping[str, Any]) -> str:
    choices = kind["options"]
    close = _closest_choice(str(value), [choice for choice in choices if isinstance(choice, str)])
    return f"{_show(value)} is not one of {_listed(choices)}" + (f"; did you mean {close}?" if close else "")


def _closest_choice(text: str, choices: Sequence[str]) -> str:
    """The probably intended choice: the nearest aspect ratio, or else the closest word; empty if none is close."""
    ratios = {choice: ratio for choice in choices if (ratio := _ratio(choice))}
    if ratios and (wanted := _ratio(text)):
        return min(ratios, key=lambda choice: abs(log(ratios[choice] / wanted)))
    return _nearest(text, choices)


def _nearest(text: str, choices: Sequence[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only a mistake needs it

    return next(iter(get_close_matches(text, choices, n=1)), "")


def _ratio(text: str) -> float | None:
    """The ratio of width to height in a text like ``16:9``."""
    found = re.fullmatch(_RATIO, text)
    return int(found[1]) / int(found[2]) if found else None


def _not_uri(value: Any, _: Mapping[str, Any]) -> str:
    return f"{_show(value)} {_uri_problem(value)}"


_SAYINGS: dict[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "type": _not_type,
    "enum": _not_choice,
    "format": _not_uri,
    "const": lambda value, kind: f"{_show(value)} is not {_show(kind['expected_value'])}",
    "minimum": lambda value, kind: f"{_show(value)} is below the minimum of {_show(kind['limit'])}",
    "maximum": lambda value, kind: f"{_show(value)} is above the maximum of {_show(kind['limit'])}",
    "exclusiveMinimum": lambda value, kind: f"{_show(value)} is not above {_show(kind['limit'])}",
    "exclusiveMaximum": lambda value, kind: f"{_show(value)} is not below {_show(kind['limit'])}",
    "multipleOf": lambda value, kind: f"{_show(value)} is not a multiple of {_show(kind['multiple_of'])}",
}
