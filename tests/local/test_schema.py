from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from replicate_job.errors import LocalError
from replicate_job.local.catalog import read_model
from replicate_job.local.schema import ensure_schema
from replicate_job.local.venv import ensure_venv

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMPORTS = """
import enum
from typing import Any, AsyncIterator, Iterator, List, Literal, Optional, TypedDict, Union
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
        document = await ensure_schema(model, venv, self._cache / "schemas")
        schemas: dict[str, Any] = document["components"]["schemas"]
        return schemas


@pytest.fixture
def read(write_model: Callable[..., Path], cache: Path) -> Reader:
    return Reader(write_model, cache)


async def test_every_input_type_that_cog_documents(read: Reader) -> None:
    code = """
class Size(str, enum.Enum):
    SMALL = "small"
    LARGE = "large"

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
    ) -> str:
        return ""
"""
    schemas = await read(code)
    assert schemas["Input"]["required"] == ["text", "path", "paths", "number"]
    properties = schemas["Input"]["properties"]
    assert [facts.pop("x-order") for facts in properties.values()] == list(range(17))
    titles = {name: facts.pop("title") for name, facts in properties.items() if "title" in facts}
    assert titles["maybe_path"] == "Maybe Path"
    uri = {"type": "string", "format": "uri"}
    assert properties == {
        "text": {"type": "string", "description": "Words", "minLength": 1, "maxLength": 9, "pattern": "^a"},
        "whole": {"type": "integer", "default": 2, "minimum": 1, "maximum": 3},
        "real": {"type": "number", "default": 0.5},
        "yes": {"type": "boolean", "default": True},
        "path": {**uri, "description": "A picture"},
        "file": uri,
        "secret": {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True},
        "many": {"type": "array", "items": {"type": "integer"}, "default": [1, 2]},
        "paths": {"type": "array", "items": uri},
        "maybe": {"type": "string", "nullable": True},
        "maybe_path": {**uri, "nullable": True, "description": "Mask"},
        "literal": {"allOf": [{"$ref": "#/components/schemas/literal"}], "default": "a"},
        "size": {"allOf": [{"$ref": "#/components/schemas/size"}], "default": "large"},
        "choice": {"allOf": [{"$ref": "#/components/schemas/choice"}], "default": "x", "description": "Pick"},
        "number": {"allOf": [{"$ref": "#/components/schemas/number"}]},
        "anything": {},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}], "default": "a"},
    }
    assert schemas["literal"]["enum"] == ["a", "b"]
    assert schemas["size"] == {
        "title": "size",
        "description": "An enumeration.",
        "type": "string",
        "enum": ["small", "large"],
    }
    assert (schemas["number"]["type"], schemas["number"]["enum"]) == ("integer", [512, 1024])


ITERATOR = {"type": "array", "items": {"type": "string"}, "x-cog-array-type": "iterator"}


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        ("str", {"type": "string"}),
        ("Path", {"type": "string", "format": "uri"}),
        ("list[Path]", {"type": "array", "items": {"type": "string", "format": "uri"}}),
        ("dict", {"type": "object"}),
        ("Any", {}),
        ("Iterator[str]", ITERATOR),
        ("AsyncIterator[str]", ITERATOR),
        ("ConcatenateIterator[str]", {**ITERATOR, "x-cog-array-display": "concatenate"}),
        ("AsyncConcatenateIterator[str]", {**ITERATOR, "x-cog-array-display": "concatenate"}),
        ("'Iterator[Path]'", {**ITERATOR, "items": {"type": "string", "format": "uri"}}),
    ],
)
async def test_every_output_type_that_cog_documents(read: Reader, hint: str, schema: dict[str, Any]) -> None:
    schemas = await read(f"class Predictor(BaseRunner):\n    def run(self) -> {hint}: ...\n")
    assert schemas["Output"] == {"title": "Output", **schema}
    assert schemas["Input"] == {"title": "Input", "type": "object", "properties": {}}


async def test_an_object_output_has_its_fields(read: Reader) -> None:
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


async def test_a_plain_function_is_a_model_too(read: Reader) -> None:
    schemas = await read("def Predictor(n: int = 1) -> int:\n    return n\n")
    assert list(schemas["Input"]["properties"]) == ["n"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("class Other: ...", "predict.py has no Predictor"),
        ("class Predictor(BaseRunner):\n    def run(self, a) -> str: ...", "the input a has no type annotation"),
        ("class Predictor(BaseRunner):\n    def run(self, a: complex) -> str: ...", "unsupported type complex"),
        ("class Predictor(BaseRunner): ...", "defines neither run nor predict"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
async def test_a_model_that_cannot_be_read_says_why_in_one_line(read: Reader, code: str, reason: str) -> None:
    with pytest.raises(LocalError, match=reason) as caught:
        await read(code)
    assert "\n" not in str(caught.value)
