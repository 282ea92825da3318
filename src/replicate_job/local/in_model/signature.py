"""Reads the schemas of a model's input and output from its signature: ``python -c TEXT FILE.py:NAME RESULT``.

TEXT is the content of this script.

The script runs in the model's own environment and folder, where this package is not installed. ``cog build`` makes the
same schemas with a Go tool (``pkg/schema`` of replicate/cog), which parses the code without running it. One difference
is intended: ``seed: int = Input(default=None)`` is optional here, as Cog's documentation says; the Go tool requires it.

The script writes JSON to the file RESULT: the schemas, or ``error`` with the exception that the model's code raised. If
the model's code ended the process, the file is missing.
"""

from __future__ import annotations

import collections.abc
import contextlib
import enum
import functools
import importlib.util
import inspect
import io
import json
import math
import os
import pathlib
import sys
import types
import typing

import cog.input  # Cog's package in the model's environment, not a part of this package

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
    "accept": "x-cog-accept",
}
_QUALIFIERS = tuple(getattr(typing, name) for name in ("Required", "NotRequired") if hasattr(typing, name))
_STREAMING = "__cog_streaming__"
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_PARTIAL = ("_partialmethod", "__partialmethod__")  # the name depends on Python's version
_Function = typing.Callable[..., object]

_make_input = cog.Input
_without_default: list[object] = []


def _input(*default: object, **facts: object) -> typing.Any:
    """``cog.Input``, which also remembers whether it was called without a default.

    ``cog.Input`` itself returns equal results for ``Input(default=None)``, which is an optional input, and for
    ``Input()``, which is a required input.
    """
    field = _make_input(*default, **facts)
    if not default and "default" not in facts:
        _without_default.append(field)
    return field


def _streaming(function: typing.Any = None) -> typing.Any:
    """``cog.streaming``, which also marks the function. Cog's own decorator leaves no mark."""
    if function is None:
        return _streaming
    setattr(function, _STREAMING, True)
    return function


class Unsupported(Exception):  # noqa: N818 - its name begins a message: "Unsupported: …"
    pass


class Schemas:
    """Builds ``components.schemas`` of the OpenAPI document. ``definitions`` maps names to schemas."""

    def __init__(self) -> None:
        self.definitions: dict[str, object] = {}
        self._open: list[type] = []  # the classes whose fields are being read

    def input(self, parameters: typing.Sequence[inspect.Parameter], hints: typing.Mapping[str, object]) -> None:
        """Add the definition ``Input`` from a function's parameters and their types."""
        properties, required = {}, []
        for order, parameter in enumerate(parameters):
            if parameter.name not in hints:
                raise Unsupported(f"the input {parameter.name} has no type annotation")
            properties[parameter.name], needed = self._property(parameter, hints[parameter.name], order)
            if needed:
                required.append(parameter.name)
        schema: dict[str, object] = {"title": "Input", "type": "object", "properties": properties}
        self.definitions = {"Input": schema | ({"required": required} if required else {}), **self.definitions}

    def _property(self, parameter: inspect.Parameter, hint: object, order: int) -> tuple[dict[str, object], bool]:
        default = parameter.default
        if default is inspect.Parameter.empty:
            default = _input()
        facts = default if hasattr(default, "choices") and hasattr(default, "regex") else cog.Input(default=default)
        has_default = not any(facts is item for item in _without_default)
        hint, optional = _optional(hint)
        optional |= has_default and facts.default is None and isinstance(hint, type) and issubclass(hint, cog.Secret)
        choices = [_plain(item) for item in facts.choices or _choices(hint)]
        if choices:
            self.definitions[parameter.name] = {
                "title": parameter.name, "description": "An enumeration.", "enum": choices, "type": _kind(hint, choices)
            }  # fmt: skip
            schema: dict[str, object] = {"allOf": [{"$ref": _REF + parameter.name}], "x-order": order}
        else:
            schema = {"title": _title(parameter.name), **self._input_value(hint, optional), "x-order": order}
        bounds = {name: getattr(facts, field, None) for field, name in _BOUNDS.items()}
        schema |= {name: value for name, value in bounds.items() if value is not None and _is_json(value)}
        if has_default and (optional or facts.default is not None) and _is_json(default := _plain(facts.default)):
            schema["default"] = default
        if optional:
            schema["nullable"] = True
        if getattr(facts, "deprecated", None):
            schema["deprecated"] = True
        return schema, not has_default and not optional

    def _input_value(self, hint: object, optional: bool) -> dict[str, object]:  # noqa: FBT001 - _optional returns it as a pair with the type
        """The schema of an input's value.

        Unlike in an output, a dictionary is any object, and the alternatives of an optional union are nullable.
        """
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is dict or origin is dict or typing.is_typeddict(hint):
            return {"type": "object"}
        if hint is list or origin is list:
            items = self._input_value(*_optional(arguments[0])) if arguments else {"type": "object"}
            return {"type": "array", "items": items}
        if origin in (typing.Union, types.UnionType):
            mark: dict[str, object] = {"nullable": True} if optional else {}
            return {"anyOf": [self._input_value(_bare(item), False) | mark for item in arguments]}
        return self.value(hint)

    def output(self, hint: object) -> None:
        """Add the definition ``Output`` from the return annotation."""
        hint = _bare(hint)
        origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
        if origin in _CONCATENATED or origin in _ITERATORS:
            item = self.value(arguments[0] if arguments else str)
            schema: dict[str, object] = {"type": "array", "items": item, "x-cog-array-type": "iterator"}
            if origin in _CONCATENATED:
                schema["x-cog-array-display"] = "concatenate"
        else:
            schema = self.value(hint)
        self.definitions["Output"] = {"title": "Output", **schema}

    def value(self, hint: object) -> dict[str, object]:
        """The JSON schema of a value of this type."""
        hint, optional = _optional(hint)
        schema = self._type(hint)
        return schema | {"nullable": True} if optional else schema

    def _type(self, hint: object) -> dict[str, object]:  # noqa: PLR0911 - one return for each kind of type
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is typing.Any or hint is dict:
            return {"type": "object"}
        if hint in _PLAIN:
            return {"type": _PLAIN[hint]}
        if values := _choices(hint):
            return {"type": _kind(hint, values), "enum": values}
        if hint is list or origin is list:
            return {"type": "array", "items": self.value(arguments[0]) if arguments else {"type": "object"}}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.value(arguments[1])}
        if origin in (typing.Union, types.UnionType):
            return {"anyOf": [self.value(item) for item in arguments]}
        if hint is type(None):
            return {"type": "object", "nullable": True}
        if isinstance(hint, type) or typing.is_typeddict(hint):
            return self._class(hint)  # type: ignore[arg-type]
        raise Unsupported(f"unsupported type {hint}")

    def _class(self, hint: type) -> dict[str, object]:
        if typing.is_typeddict(hint):
            return self._fields(hint, lambda name, _: name in hint.__required_keys__)  # type: ignore[attr-defined]
        if issubclass(hint, cog.Secret):
            return {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True}
        if issubclass(hint, (os.PathLike, cog.File, io.IOBase)):
            return {"type": "string", "format": "uri"}
        if any(base.__name__ == "BaseModel" for base in hint.__mro__):  # Cog's, pydantic's, or pydantic.v1's
            return self._fields(hint, lambda name, item: not _has_default(hint, name) and not _optional(item)[1])
        raise Unsupported(f"unsupported type {hint.__name__}")

    def _fields(self, hint: type, is_needed: typing.Callable[[str, object], bool]) -> dict[str, object]:
        if hint in self._open:  # a recursive type
            return {"type": "object"}
        self._open.append(hint)
        fields = typing.get_type_hints(hint, include_extras=True)
        fields = {name: _qualified(item) for name, item in fields.items() if not name.startswith("_")}
        needed = [name for name, item in fields.items() if is_needed(name, item)]
        schema: dict[str, object] = {
            "type": "object",
            "properties": {name: {"title": _title(name), **self.value(item)} for name, item in fields.items()},
        }
        self._open.pop()
        return schema | ({"required": needed} if needed else {})


def _has_default(hint: type, name: str) -> bool:
    fields = getattr(hint, "model_fields", None) or getattr(hint, "__fields__", None) or {}
    if name in fields:
        required = getattr(fields[name], "required", None)  # pydantic 1
        return not (fields[name].is_required() if required is None else required)
    return hasattr(hint, name)


def _title(name: str) -> str:
    return " ".join(word[:1].upper() + word[1:] for word in name.split("_"))


def _kind(hint: object, values: list[object]) -> str:
    """The JSON type of an enumeration: the type of its annotation, else the type of its first value."""
    return _PLAIN.get(hint, "") or _PLAIN.get(type(values[0]), "string")  # type: ignore[call-overload]


def _qualified(hint: object) -> object:
    """The type without a TypedDict's ``Required`` and ``NotRequired``."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) in _QUALIFIERS else hint


def _bare(hint: object) -> object:
    """The type without ``Annotated``. With ``cog.Opaque``, a list becomes ``list[dict]``, any other type ``dict``."""
    if typing.get_origin(hint) is not typing.Annotated:
        return hint
    inner, *marks = typing.get_args(hint)
    if not any(type(mark).__name__ == "_OpaqueMarker" for mark in marks):
        return _bare(inner)
    inner, optional = _optional(inner)
    opaque = list[dict] if inner is list or typing.get_origin(inner) is list else dict  # type: ignore[type-arg]
    return typing.Optional[opaque] if optional else opaque  # noqa: UP045 - made at run time


def _optional(hint: object) -> tuple[object, bool]:
    """The type without ``Annotated`` and ``None``, and whether it may be ``None``."""
    hint = _bare(hint)
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    types_left = [item for item in typing.get_args(hint) if item is not type(None)]
    if len(types_left) == len(typing.get_args(hint)):
        return hint, False
    bare = _bare(types_left[0]) if len(types_left) == 1 else typing.Union[tuple(types_left)]  # noqa: UP007 - of a list
    return bare, True


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


def _is_json(value: object) -> bool:
    """Whether the value can be written as JSON.

    A default that cannot, such as infinity, is left out. Cog's own tool does the same.
    """
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_json(item) for name, item in value.items())
    return all(map(_is_json, value)) if isinstance(value, list) else value is None or isinstance(value, (str, int))


def _method(model: type, name: str) -> object:
    """The method that a class defines, or inherits from a class other than Cog's. None if there is none."""
    method = getattr(model, name, None)
    return None if method is getattr(cog.BaseRunner, name) else method


def _inner(function: object, name: str) -> _Function | None:
    """The function of that name in the closure of a decorator's wrapper."""
    left, seen = [function], {id(function)}
    while left:
        item = left.pop(0)
        item = item.func if isinstance(item, functools.partial) else item
        if not inspect.isfunction(item):
            continue
        if item is not function and item.__name__ == name:
            return item
        for cell in item.__closure__ or ():
            with contextlib.suppress(ValueError):  # an empty cell
                if id(cell.cell_contents) not in seen:
                    seen.add(id(cell.cell_contents))
                    left.append(cell.cell_contents)
    return None


def _read_function(function: _Function, name: str) -> tuple[list[inspect.Parameter], dict[str, object]]:
    """The parameters of a function as its author wrote them, and their types.

    The wrapper of a decorator without ``functools.wraps`` accepts any arguments. Then the parameters of the function
    inside the wrapper are read.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and all(item.kind in _VARIABLE or item.name == "self" for item in parameters):
        function = _inner(function, name) or function
        parameters = list(inspect.signature(function).parameters.values())
    written: typing.Any = function
    while partial := next((getattr(written, key) for key in _PARTIAL if hasattr(written, key)), None):
        written = partial.func
    hints = typing.get_type_hints(inspect.unwrap(written), include_extras=True)
    return parameters, hints


def read(target: str) -> dict[str, object]:
    """Import ``FILE.py:NAME`` and read its schemas. Raises Unsupported, or any exception that the import raises."""
    file, _, name = target.partition(":")
    spec = importlib.util.spec_from_file_location(pathlib.Path(file).stem, file)
    if spec is None or spec.loader is None or not pathlib.Path(file).is_file():
        raise Unsupported(f"there is no {file}")
    cog.Input = cog.input.Input = _input
    cog.streaming = _streaming
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    name = name or ("Runner" if hasattr(module, "Runner") else "Predictor")
    model = getattr(module, name, None)
    if model is None:
        raise Unsupported(f"{file} has no {name}")
    function, is_bound = model, True
    if inspect.isclass(model):
        method = next((method for method in ("run", "predict") if _method(model, method)), None)
        if method is None:
            raise Unsupported(f"{name} defines neither run nor predict")
        function, name = _method(model, method), method
        is_bound = isinstance(inspect.getattr_static(model, method), (staticmethod, classmethod))
    parameters, hints = _read_function(function, name)
    # The first parameter of a method is the model itself, whatever its name is.
    inputs = [item for item in parameters[not is_bound :] if item.name != "self" and item.kind not in _VARIABLE]
    schemas = Schemas()
    schemas.output(hints.get("return", typing.Any))
    schemas.input(inputs, hints)
    return {"schemas": schemas.definitions, "streaming": hasattr(function, _STREAMING)}


def main() -> None:
    target, result = sys.argv[1:3]
    del sys.argv[1:]  # a model that parses command-line arguments must find none
    try:
        answer = json.dumps(read(target), allow_nan=False)
    except BaseException as error:  # noqa: BLE001 - the model's own code runs here, and may raise anything
        notes = getattr(error, "__notes__", ())
        answer = json.dumps({"error": "\n".join((f"{type(error).__name__}: {error}", *notes))})
    pathlib.Path(result).write_text(answer, "utf-8")
    sys.stdout.flush()
    os._exit(0)  # threads that the model started may never end


if __name__ == "__main__":
    main()
