"""Scripted models and deployments with their schemas, and the default ones."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.serving.resource import (
    account_body,
    deployment_body,
    model_body,
    prediction_body,
    prediction_urls,
    version_body,
)
from replicate_job.serving.validation import Validator
from replicate_job.testing.delivery import OutputFile
from replicate_job.testing.script import Script, Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

IMAGE = base64.b64decode("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==")
"""A WebP of one pixel."""
ACCOUNT = account_body("acme", "Acme", type="organization")
WEB = "https://replicate.com"
FILE: dict[str, Any] = {"type": "string", "format": "uri"}
TEXT: dict[str, Any] = {
    "type": "array",
    "items": {"type": "string"},
    "x-cog-array-type": "iterator",
    "x-cog-array-display": "concatenate",
}

_CREATED = datetime(2025, 1, 1, tzinfo=UTC).timestamp()


def openapi_schema(
    inputs: Mapping[str, Mapping[str, Any]],
    output: Mapping[str, Any] | None = None,
    *,
    required: Iterable[str] = (),
) -> dict[str, Any]:
    """A model's OpenAPI document, as Cog writes it, from the schemas of its inputs and of its output.

    An input with an ``enum`` becomes an ``allOf`` with a reference, as in Cog's documents.
    """
    properties, schemas = {}, {}
    for order, (name, schema) in enumerate(inputs.items()):
        field = {"title": name.replace("_", " ").title(), "x-order": order} | dict(schema)
        if "enum" in field:
            choices = {"type": field.pop("type", "string"), "enum": field.pop("enum")}
            schemas[name] = choices | {"title": name, "description": "An enumeration."}
            field["allOf"] = [{"$ref": f"#/components/schemas/{name}"}]
        properties[name] = field
    schemas["Input"] = {"type": "object", "title": "Input", "properties": properties, "required": list(required)}
    schemas["Output"] = {"title": "Output"} | dict(output or {"type": "string"})
    info = {"title": "Cog", "version": "0.1.0"}
    return {"openapi": "3.0.2", "info": info, "paths": {}, "components": {"schemas": schemas}}


class ScriptedModel(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A scripted model. Its ``name`` is ``owner/name``.

    An ``official`` model is run by its name. It has no list of versions, and its predictions have the version
    ``hidden``. Any other model is run by a version. ``versions`` are ids (64 hex digits), the latest first; by default
    there is one made-up id. If ``schema`` is None, the API shows no schema, as for some private models. If ``versions``
    is empty too, the API shows no latest version. ``script`` is a ``Script``, or a function that returns a ``Script``
    for an input. ``readme`` is Markdown; it is empty if the model has no readme. ``example`` is the input of the
    prediction that the model's page shows.
    """

    name: str
    script: Any = Script()
    official: bool = False
    schema: dict[str, Any] | None = None
    versions: tuple[str, ...] = ()
    visibility: str = "public"
    description: str = "A scripted model: it runs nothing."
    readme: str = ""
    example: dict[str, Any] | None = None

    @cached_property
    def validator(self) -> Validator:
        return Validator(self.schema)

    @property
    def version_ids(self) -> tuple[str, ...]:
        return self.versions or _made_up(self.name)

    def version(self, version_id: str) -> dict[str, Any]:
        """The version object."""
        return version_body(version_id, created_at=_CREATED, cog_version="0.16.0", openapi_schema=self.schema)

    def describe(self) -> dict[str, Any]:
        """The model object."""
        hidden = self.schema is None and not self.versions
        return model_body(
            self.name,
            web=WEB,
            latest_version=None if hidden else self.version(self.version_ids[0]),
            is_official=self.official,
            description=self.description,
            visibility=self.visibility,
            default_example=self._example(),
        )

    def _example(self) -> dict[str, Any] | None:
        """The example prediction; None without an example. Its output is None if the script's output has files."""
        if self.example is None:
            return None
        script = self.script if isinstance(self.script, Script) else self.script(self.example)
        output = script.output(self.example) if callable(script.output) else script.output
        example_id = hashlib.sha256(f"example of {self.name}".encode()).hexdigest()[:26]
        return prediction_body(
            id=example_id,
            model=self.name,
            version="hidden" if self.official else self.version_ids[0],
            input=self.example,
            status="succeeded",
            created_at=_CREATED,
            completed_at=_CREATED,
            urls=prediction_urls(example_id, api=WEB, web=WEB),
            output=None if _has_files(output) else output,
        )


class ScriptedDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment. ``name`` and ``model`` are ``owner/name``. Without ``version``, the model's latest version runs."""

    name: str
    model: str
    version: str = ""

    def describe(self, version: str) -> dict[str, Any]:
        """The deployment object."""
        return deployment_body(self.name, model=self.model, version=version, created_at=_CREATED, created_by=ACCOUNT)


def _has_files(output: Any) -> bool:
    items = output if isinstance(output, list | tuple) else [output]
    return any(isinstance(item, OutputFile) for item in items)


@cache
def _made_up(name: str) -> tuple[str, ...]:
    return (hashlib.sha256(name.encode()).hexdigest(),)


def _flux(inputs: dict[str, Any]) -> Script:
    kind = inputs.get("output_format", "webp")
    files = [OutputFile(content=IMAGE, name=f"out-{index}.{kind}") for index in range(inputs.get("num_outputs", 1))]
    return Script(output=files, logs="".join(f" {step * 25}%| {step}/4 [00:00<00:00]\n" for step in range(1, 5)))


DEFAULT_MODELS = (
    ScriptedModel(
        name="black-forest-labs/flux-schnell",
        official=True,
        script=_flux,
        schema=openapi_schema(
            {
                "prompt": {"type": "string", "description": "Prompt for generated image"},
                "aspect_ratio": {"enum": ["1:1", "16:9", "21:9", "3:2", "2:3", "9:16"], "default": "1:1"},
                "num_outputs": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
                "seed": {"type": "integer"},
                "output_format": {"enum": ["webp", "jpg", "png"], "default": "webp"},
                "output_quality": {"type": "integer", "minimum": 0, "maximum": 100, "default": 80},
            },
            {"type": "array", "items": FILE},
            required=["prompt"],
        ),
    ),
    ScriptedModel(
        name="meta/llama-2-70b-chat",
        official=True,
        script=Script(output=["Once", " upon", " a", " time", "."], stream=Stream()),
        schema=openapi_schema({"prompt": {"type": "string"}}, TEXT, required=["prompt"]),
    ),
    ScriptedModel(
        name="replicate/hello-world",
        versions=("5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",),
        script=Script(output=lambda inputs: f"hello {inputs.get('text', '')}"),
        schema=openapi_schema({"text": {"type": "string"}}, required=["text"]),
        description="Says hello.",
        readme="# Hello World\n\nGive it a name, and it says hello.\n",
        example={"text": "Ada"},
    ),
    ScriptedModel(
        name="stability-ai/sdxl",
        script=Script(output=[OutputFile(content=IMAGE, name="out-0.png", content_type="image/webp")]),
        schema=openapi_schema(
            {"prompt": {"type": "string", "default": "An astronaut"}, "image": FILE},
            {"type": "array", "items": FILE},
        ),
    ),
    ScriptedModel(
        name="nightmareai/real-esrgan",
        script=Script(output=OutputFile(content=IMAGE, name="output.png", content_type="image/webp")),
        schema=openapi_schema(
            {
                "image": FILE,
                "scale": {"type": "number", "minimum": 0, "maximum": 10, "default": 4},
                "face_enhance": {"type": "boolean", "default": False},
            },
            FILE,
            required=["image"],
        ),
    ),
    ScriptedModel(
        name="facebook/musicgen",
        script=Script(output=OutputFile(content=b"RIFF\x24\x00\x00\x00WAVE", name="out.wav")),
        schema=openapi_schema({"prompt": {"type": "string"}, "duration": {"type": "integer", "default": 8}}, FILE),
    ),
    ScriptedModel(name="acme/private", official=True, visibility="private", script=Script(output="done")),
)
DEFAULT_DEPLOYMENTS = (ScriptedDeployment(name="acme/flux", model="black-forest-labs/flux-schnell"),)
