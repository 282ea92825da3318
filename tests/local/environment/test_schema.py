from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from replicate_job.errors import LocalError
from replicate_job.local.catalog.model import read_model
from replicate_job.local.environment.schema import ensure_schema
from replicate_job.local.environment.venv import ensure_venv
from replicate_job.local.environment.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMPORTS = """
import enum
from typing import Annotated, Any, AsyncIterator, Iterator, List, Literal, Optional, TypedDict, Union
from cog import Opaque
from cog import (
    AsyncConcatenateIterator, BaseModel, BasePredictor, BaseRunner, ConcatenateIterator, File, Input, Path, Secret
)
"""


class Reader:
    def __init__(self, write_model: Callable[..., Path], cache: Path) -> None:
        self._write, self._cache, self._count = write_model, cache, 0

    async def __call__(self, code: str) -> dict[str, Any]:
        self._count += 1
        config = 'predict: "predict.py:Predictor"\n'
        model = read_model(self._write(f"{IMPORTS}\n{code}", config, name=f"model{self._count}"))
        venv = await ensure_venv(model, self._cache / "venvs", lambda _: None)
        workspace = Workspace(model, venv, self._cache / "workspaces" / model.version)
        workspace.make()
        document = await ensure_schema(workspace, self._cache / "schemas")
        schemas: dict[str, Any] = document["components"]["schemas"]
        return schemas


@pytest.fixture
def read(write_model: Callable[..., Path], cache: Path) -> Reader:
    return Reader(write_model, cache)


async def test_every_input_type_that_cog_documents_is_read(read: Reader) -> None:
    code = """
class Size(str, enum.Enum):
    SMALL = "small"
    LARGE = "large"

class Settings(TypedDict):
    a: int

class Predictor(BasePredictor):
    def predict(
        self,
        text: str = Input(description="Words", min_length=1, max_length=9, regex="^a"),
        whole: int = Input(default=2, ge=1, le=3),
        real: float = 0.5,
        yes: bool = True,
        path: Path = Input(description="A picture"),
        file: File = Input(default=None),
        secret: Secret = Input(default=None),
        many: list[int] = Input(default=[1, 2]),
        paths: List[Path] = Input(),
        maybe: Optional[str] = None,
        maybe_path: Path | None = Input(default=None, description="Mask"),
        literal: Literal["a", "b"] = "a",
        size: Size = Size.LARGE,
        choice: str = Input(default="x", choices=["x", "y"], description="Pick"),
        number: int = Input(choices=[512, 1024]),
        anything: Any = None,
        either: Union[str, int] = "a",
        maybe_either: Union[str, list[int], None] = Input(description="Both"),
        settings: dict[str, int] = Input(),
        typed: Settings = Input(),
        opaque: Annotated[dict, Opaque] = Input(),
        opaques: Annotated[list[dict], Opaque] = Input(),
        seed: int = Input(default=None),
        camelCase_x: str = Input(default="", deprecated=True),
        current: str = Input(default="", deprecated=False),
        ratio: float = Input(choices=[1, 2]),
        maybe_choice: Optional[str] = Input(choices=["a"]),
        many_choices: Optional[List[str]] = None,
    ) -> str:
        return ""
"""
    schemas = await read(code)
    assert schemas["Input"]["required"] == [
        *("text", "path", "paths", "number", "settings", "typed", "opaque", "opaques", "ratio")
    ]
    properties = schemas["Input"]["properties"]
    assert [facts.pop("x-order") for facts in properties.values()] == list(range(28))
    titles = {name: facts.pop("title") for name, facts in properties.items() if "title" in facts}
    assert (titles["maybe_path"], titles["camelCase_x"]) == ("Maybe Path", "CamelCase X")
    uri = {"type": "string", "format": "uri"}
    assert properties == {
        "text": {"type": "string", "description": "Words", "minLength": 1, "maxLength": 9, "pattern": "^a"},
        "whole": {"type": "integer", "default": 2, "minimum": 1, "maximum": 3},
        "real": {"type": "number", "default": 0.5},
        "yes": {"type": "boolean", "default": True},
        "path": {**uri, "description": "A picture"},
        "file": uri,
        "secret": {
            "type": "string",
            "format": "password",
            "writeOnly": True,
            "x-cog-secret": True,
            "nullable": True,
            "default": None,
        },
        "many": {"type": "array", "items": {"type": "integer"}, "default": [1, 2]},
        "paths": {"type": "array", "items": uri},
        "maybe": {"type": "string", "nullable": True, "default": None},
        "maybe_path": {**uri, "nullable": True, "default": None, "description": "Mask"},
        "literal": {"allOf": [{"$ref": "#/components/schemas/literal"}], "default": "a"},
        "size": {"allOf": [{"$ref": "#/components/schemas/size"}], "default": "large"},
        "choice": {"allOf": [{"$ref": "#/components/schemas/choice"}], "default": "x", "description": "Pick"},
        "number": {"allOf": [{"$ref": "#/components/schemas/number"}]},
        "anything": {"type": "object"},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}], "default": "a"},
        "maybe_either": {
            "anyOf": [
                {"type": "string", "nullable": True},
                {"type": "array", "items": {"type": "integer"}, "nullable": True},
            ],
            "nullable": True,
            "description": "Both",
        },
        "settings": {"type": "object"},
        "typed": {"type": "object"},
        "opaque": {"type": "object"},
        "opaques": {"type": "array", "items": {"type": "object"}},
        "seed": {"type": "integer"},
        "camelCase_x": {"type": "string", "default": "", "deprecated": True},
        "current": {"type": "string", "default": ""},
        "ratio": {"allOf": [{"$ref": "#/components/schemas/ratio"}]},
        "maybe_choice": {"allOf": [{"$ref": "#/components/schemas/maybe_choice"}], "nullable": True},
        "many_choices": {"type": "array", "items": {"type": "string"}, "nullable": True, "default": None},
    }
    assert schemas["literal"]["enum"] == ["a", "b"]
    assert schemas["size"] == {
        "title": "size",
        "description": "An enumeration.",
        "type": "string",
        "enum": ["small", "large"],
    }
    assert (schemas["number"]["type"], schemas["number"]["enum"]) == ("integer", [512, 1024])
    assert (schemas["ratio"]["type"], schemas["ratio"]["enum"]) == ("number", [1, 2])


INTEGER = {"type": "integer"}
ITERATOR = {"type": "array", "items": {"type": "string"}, "x-cog-array-type": "iterator"}


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        ("str", {"type": "string"}),
        ("Path", {"type": "string", "format": "uri"}),
        ("list[Path]", {"type": "array", "items": {"type": "string", "format": "uri"}}),
        ("dict", {"type": "object"}),
        ("dict[str, list[int]]", {"type": "object", "additionalProperties": {"type": "array", "items": INTEGER}}),
        ("list", {"type": "array", "items": {"type": "object"}}),
        ("list[dict]", {"type": "array", "items": {"type": "object"}}),
        ("Annotated[list[dict], Opaque]", {"type": "array", "items": {"type": "object"}}),
        ("None", {"type": "object", "nullable": True}),
        ("Any", {"type": "object"}),
        ("Iterator[str]", ITERATOR),
        ("AsyncIterator[str]", ITERATOR),
        ("ConcatenateIterator[str]", {**ITERATOR, "x-cog-array-display": "concatenate"}),
        ("AsyncConcatenateIterator[str]", {**ITERATOR, "x-cog-array-display": "concatenate"}),
        ("'Iterator[Path]'", {**ITERATOR, "items": {"type": "string", "format": "uri"}}),
    ],
)
async def test_every_output_type_that_cog_documents_is_read(read: Reader, hint: str, schema: dict[str, Any]) -> None:
    schemas = await read(f"class Predictor(BaseRunner):\n    def run(self) -> {hint}: ...\n")
    assert schemas["Output"] == {"title": "Output", **schema}
    assert schemas["Input"] == {"title": "Input", "type": "object", "properties": {}}


async def test_an_output_object_has_its_fields_in_the_schema(read: Reader) -> None:
    code = """
class Result(BaseModel):
    text: str
    mask: Optional[Path]
    scores: list[float]

class Predictor(BaseRunner):
    def run(self) -> Result: ...
"""
    output = (await read(code))["Output"]
    assert output["required"] == ["text", "scores"]
    assert output["properties"] == {
        "text": {"title": "Text", "type": "string"},
        "mask": {"title": "Mask", "type": "string", "format": "uri", "nullable": True},
        "scores": {"title": "Scores", "type": "array", "items": {"type": "number"}},
    }


async def test_objects_inside_objects_and_typed_dictionaries_have_their_fields(read: Reader) -> None:
    code = """
from typing import NotRequired

class Point(TypedDict):
    x: int
    note: NotRequired[str]

class Tree(BaseModel):
    point: Point
    parts: "list[Tree]"
    depth: int = 0

class Predictor(BaseRunner):
    def run(self) -> Iterator[Tree]: ...
"""
    output = (await read(code))["Output"]
    assert output["x-cog-array-type"] == "iterator"
    assert output["items"] == {
        "type": "object",
        "required": ["point", "parts"],
        "properties": {
            "point": {
                "title": "Point",
                "type": "object",
                "required": ["x"],
                "properties": {"x": {"title": "X", **INTEGER}, "note": {"title": "Note", "type": "string"}},
            },
            "parts": {"title": "Parts", "type": "array", "items": {"type": "object"}},
            "depth": {"title": "Depth", **INTEGER},
        },
    }


async def test_the_document_equals_that_of_cogs_own_tool(write_model: Callable[..., Path], cache: Path) -> None:
    code = (
        "from cog import BaseRunner, streaming\nclass P(BaseRunner):\n    @streaming\n    def run(self) -> str: ...\n"
    )
    model = read_model(write_model(code, 'run: "predict.py:P"\n'))
    venv = await ensure_venv(model, cache / "venvs", lambda _: None)
    workspace = Workspace(model, venv, cache / "workspaces" / model.version)
    workspace.make()
    document = await ensure_schema(workspace, cache / "schemas")
    assert list(document["components"]["schemas"]) == [
        *("Input", "Output", "PredictionRequest", "PredictionResponse", "Status"),
        *("HTTPValidationError", "ValidationError"),
    ]
    paths = ["/", "/health-check", "/predictions", "/predictions/{prediction_id}/cancel"]
    assert list(document["paths"]) == paths
    predict = document["paths"]["/predictions"]["post"]
    assert predict["operationId"] == "predict_predictions_post"
    assert predict["x-cog-streaming"] is True
    assert list(predict["responses"]) == ["200", "422"]


async def test_a_plain_function_is_a_model_too(read: Reader) -> None:
    schemas = await read("def Predictor(n: int = 1) -> int:\n    return n\n")
    assert list(schemas["Input"]["properties"]) == ["n"]


async def test_decorated_signatures_are_read_as_written(read: Reader) -> None:
    code = """
import functools
import sys
from cog.input import Input

def logged(function):  # without functools.wraps
    def call(*args, **kwargs):
        return function(*args, **kwargs)
    return call

class Predictor:
    @logged
    def run(
        model,
        needed: str = Input(description="Words"),
        far: float = Input(default=float("inf"), ge=float("-inf"), le=3),
        arguments: int = len(sys.argv[1:]),
        **others,
    ) -> list[str]:
        ...
"""
    schemas = await read(code)
    properties = schemas["Input"]["properties"]
    assert list(properties) == ["needed", "far", "arguments"]
    assert schemas["Input"]["required"] == ["needed"]
    assert properties["far"] == {"title": "Far", "type": "number", "x-order": 1, "maximum": 3}
    assert properties["arguments"]["default"] == 0
    assert schemas["Output"]["items"] == {"type": "string"}


async def test_a_predict_method_made_with_partial_has_only_the_inputs_that_are_not_bound(read: Reader) -> None:
    code = """
import functools

class Predictor(BasePredictor):
    def repeat(self, text: "str" = Input(default="x"), times: int = 2) -> "str": ...
    predict = functools.partialmethod(repeat, times=3)
"""
    schemas = await read(code)
    properties = schemas["Input"]["properties"]
    assert {name: facts["default"] for name, facts in properties.items()} == {"text": "x", "times": 3}
    assert schemas["Output"]["type"] == "string"


async def test_a_field_of_pydantic_1_with_a_default_is_not_required(read: Reader) -> None:
    # In pydantic 1, defaults are only in __fields__.
    code = """
import types
from typing import Dict

class BaseModel:
    pass

class Result(BaseModel):
    text: str
    score: float
    __fields__ = {"text": types.SimpleNamespace(required=True), "score": types.SimpleNamespace(required=False)}

class Predictor:
    def predict(self) -> Result: ...
"""
    assert (await read(code))["Output"]["required"] == ["text"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("class Other: ...", "predict.py has no Predictor"),
        ("class Predictor(BaseRunner):\n    def run(self, a) -> str: ...", "the input a has no type annotation"),
        ("class Predictor(BaseRunner):\n    def run(self, a: complex) -> str: ...", "unsupported type complex"),
        ("class Predictor(BaseRunner): ...", "defines neither run nor predict"),
        ("1 / 0", "ZeroDivisionError: division by zero$"),
        ("print('done'); raise ValueError('first\\nsecond')", r"ValueError: first \| second$"),
        ("import sys; sys.exit(0)", "SystemExit: 0$"),
        ("import os; print('bye', flush=True); os._exit(0)", r"its import ended with exit code 0 \| bye$"),
    ],
)
async def test_the_error_for_an_unreadable_model_is_one_line_with_the_reason(
    read: Reader, code: str, reason: str
) -> None:
    with pytest.raises(LocalError, match=reason) as caught:
        await read(code)
    assert "\n" not in str(caught.value)
