"""Write a Cog model's OpenAPI document, read from its signature: ``python -c THIS FILE.py:NAME RESULT``.

Runs in the model's own environment and folder, where nothing of this package can be imported. ``cog build`` makes
this document with its Go tool; Cog's server checks inputs and streams outputs only where it finds one.
"""

from __future__ import annotations

import collections.abc
import enum
import importlib.util
import inspect
import io
import json
import os
import pathlib
import sys
import types
import typing

import cog  # type: ignore[import-not-found]  # the model's, not the module beside this one

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}
_REF = "#/components/schemas/"
_CONCATENATED = (cog.ConcatenateIterator, cog.AsyncConcatenateIterator)
_ITERATORS = (
    collections.abc.Iterator,
    collections.abc.AsyncIterator,
    collections.abc.Generator,
    collections.abc.AsyncGenerator,
    collections.abc.Iterable,
    collections.abc.AsyncIterable,
)
_BOUNDS = {
    "description": "description",
    "ge": "minimum",
    "le": "maximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "regex": "pattern",
    "deprecated": "deprecated",
    "accept": "x-cog-accept",
}


_make_input = cog.Input
_without_default: list[object] = []


def _input(*default: object, **facts: object) -> typing.Any:
    """``cog.Input``, which cannot tell ``Input(default=None)``, an optional input, from ``Input()``, a required one."""
    made = _make_input(*default, **facts)
    if not default and "default" not in facts:
        _without_default.append(made)
    return made


class Unsupported(Exception):  # noqa: N818 - it is said as a sentence: "unsupported type …"
    pass


class Document:
    """Collects ``components.schemas``."""

    def __init__(self) -> None:
        self.schemas: dict[str, object] = {}

    def input(self, function: typing.Callable[..., object]) -> None:
        """Make ``Input`` from the parameters after ``self``."""
        hints = typing.get_type_hints(function, include_extras=True)
        properties, required = {}, []
        parameters = [item for item in inspect.signature(function).parameters.values() if item.name != "self"]
        for order, parameter in enumerate(parameters):
            if parameter.name not in hints:
                raise Unsupported(f"the input {parameter.name} has no type annotation")
            properties[parameter.name], needed = self._property(parameter, hints[parameter.name], order)
            if needed:
                required.append(parameter.name)
        schema: dict[str, object] = {"title": "Input", "type": "object", "properties": properties}
        self.schemas["Input"] = schema | ({"required": required} if required else {})

    def _property(self, parameter: inspect.Parameter, hint: object, order: int) -> tuple[dict[str, object], bool]:
        given = parameter.default
        if given is inspect.Parameter.empty:
            given = _input()
        facts = given if hasattr(given, "choices") and hasattr(given, "regex") else cog.Input(default=given)
        hint, optional = _optional(_bare(hint))
        title = parameter.name.replace("_", " ").title()
        choices = facts.choices or _choices(hint)
        if choices:
            values = [_plain(item) for item in choices]
            kind = _PLAIN.get(type(values[0]), "string")
            self.schemas[parameter.name] = {
                "title": parameter.name, "description": "An enumeration.", "type": kind, "enum": values
            }  # fmt: skip
            schema: dict[str, object] = {"allOf": [{"$ref": _REF + parameter.name}], "x-order": order}
        else:
            schema = {"title": title, **self.value(hint), "x-order": order}
        schema |= {name: value for field, name in _BOUNDS.items() if (value := getattr(facts, field, None)) is not None}
        if facts.default is not None:
            schema["default"] = _plain(facts.default)
        if optional:
            schema["nullable"] = True
        return schema, any(facts is item for item in _without_default) and not optional

    def output(self, hint: object) -> None:
        """Make ``Output`` from the return annotation."""
        hint = _bare(hint)
        origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
        if origin in _CONCATENATED or origin in _ITERATORS:
            item = self.value(arguments[0] if arguments else str)
            schema: dict[str, object] = {"type": "array", "items": item, "x-cog-array-type": "iterator"}
            if origin in _CONCATENATED:
                schema["x-cog-array-display"] = "concatenate"
        else:
            schema = self.value(hint)
        self.schemas["Output"] = {"title": "Output", **schema}

    def value(self, hint: object) -> dict[str, object]:
        """The JSON schema of a value of this type."""
        hint, optional = _optional(_bare(hint))
        schema = self._type(hint)
        return schema | {"nullable": True} if optional else schema

    def _type(self, hint: object) -> dict[str, object]:  # noqa: PLR0911 - one return a kind of type
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is typing.Any:
            return {}
        if hint in _PLAIN:
            return {"type": _PLAIN[hint]}
        if values := _choices(hint):
            return {"type": _PLAIN.get(type(values[0]), "string"), "enum": values}
        if hint is list or origin is list:
            return {"type": "array", "items": self.value(arguments[0]) if arguments else {}}
        if hint is dict or origin is dict or typing.is_typeddict(hint):
            return {"type": "object"}
        if origin in (typing.Union, types.UnionType):
            return {"anyOf": [self.value(item) for item in arguments]}
        if isinstance(hint, type):
            return self._class(hint)
        raise Unsupported(f"unsupported type {hint}")

    def _class(self, hint: type) -> dict[str, object]:
        if issubclass(hint, cog.Secret):
            return {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True}
        if issubclass(hint, (os.PathLike, cog.File, io.IOBase)):
            return {"type": "string", "format": "uri"}
        pydantic = sys.modules.get("pydantic")
        if issubclass(hint, cog.BaseModel) or (pydantic and issubclass(hint, pydantic.BaseModel)):
            fields = typing.get_type_hints(hint, include_extras=True)
            fields = {name: item for name, item in fields.items() if not name.startswith("_")}
            needed = [name for name, item in fields.items() if not hasattr(hint, name) and not _optional(item)[1]]
            schema: dict[str, object] = {
                "type": "object",
                "properties": {name: self._field(name, item) for name, item in fields.items()},
            }
            return schema | ({"required": needed} if needed else {})
        raise Unsupported(f"unsupported type {hint.__name__}")

    def _field(self, name: str, hint: object) -> dict[str, object]:
        return {"title": name.replace("_", " ").title(), **self.value(hint)}

    def whole(self) -> dict[str, object]:
        body = {"application/json": {"schema": {"$ref": _REF + "PredictionRequest"}}}
        answer = {"application/json": {"schema": {"$ref": _REF + "PredictionResponse"}}}
        self.schemas |= {
            "PredictionRequest": {"type": "object", "properties": {"input": {"$ref": _REF + "Input"}}},
            "PredictionResponse": {"type": "object", "properties": {"output": {"$ref": _REF + "Output"}}},
        }
        predict = {
            "summary": "Predict",
            "requestBody": {"content": body, "required": True},
            "responses": {"200": {"description": "Successful Response", "content": answer}},
            "x-cog-streaming": True,  # without it Cog's server refuses an event stream
        }
        return {
            "openapi": "3.0.2",
            "info": {"title": "Cog", "version": "0.1.0"},
            "paths": {"/predictions": {"post": predict}},
            "components": {"schemas": self.schemas},
        }


def _bare(hint: object) -> object:
    """Without ``Annotated``; ``Annotated[…, cog.Opaque]`` is any JSON object."""
    if typing.get_origin(hint) is not typing.Annotated:
        return hint
    inner, *marks = typing.get_args(hint)
    return dict if any(type(mark).__name__ == "_OpaqueMarker" for mark in marks) else _bare(inner)


def _optional(hint: object) -> tuple[object, bool]:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    left = [item for item in typing.get_args(hint) if item is not type(None)]
    if len(left) == len(typing.get_args(hint)):
        return hint, False
    return (_bare(left[0]) if len(left) == 1 else typing.Union[tuple(left)]), True  # noqa: UP007 - made from a list


def _choices(hint: object) -> list[object]:
    if typing.get_origin(hint) is typing.Literal:
        return [_plain(item) for item in typing.get_args(hint)]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return [item.value for item in hint]
    return []


def _plain(value: object) -> object:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, pathlib.PurePath):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def document(target: str) -> dict[str, object]:
    """Import ``FILE.py:NAME`` and read it. Raises Unsupported, or whatever the import raises."""
    file, _, name = target.partition(":")
    spec = importlib.util.spec_from_file_location(pathlib.Path(file).stem, file)
    if spec is None or spec.loader is None or not pathlib.Path(file).is_file():
        raise Unsupported(f"there is no {file}")
    cog.Input = _input
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if found is None:
        raise Unsupported(f"{file} has no {name}")
    function = found
    if inspect.isclass(found):
        own = [word for word in ("run", "predict") if getattr(found, word) is not getattr(cog.BaseRunner, word, None)]
        if not own:
            raise Unsupported(f"{name} defines neither run nor predict")
        function = getattr(found, own[0])
    result = Document()
    result.input(function)
    result.output(typing.get_type_hints(function, include_extras=True).get("return", typing.Any))
    return result.whole()


def main() -> int:
    try:
        found = document(sys.argv[1])
    except Exception as error:  # noqa: BLE001 - the model's own code runs here, and may raise anything
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - the last line is the reason
        return 1
    pathlib.Path(sys.argv[2]).write_text(json.dumps(found), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
