"""Makes the OpenAPI document of a model from its input and output schemas, as Cog's own tool does.

It has the paths, components and titles of ``pkg/schema/openapi_spec.go`` in replicate/cog 0.23.
"""

from __future__ import annotations

from typing import Any

from replicate_job.local.environment.venv import COG

Json = dict[str, Any]

_VALIDATION_ERROR = {"description": "Validation Error"}
_RESPONSE_FIELDS = {
    "id": {"title": "Id", "type": "string"},
    "version": {"title": "Version", "type": "string"},
    "created_at": {"title": "Created At", "type": "string", "format": "date-time"},
    "started_at": {"title": "Started At", "type": "string", "format": "date-time"},
    "completed_at": {"title": "Completed At", "type": "string", "format": "date-time"},
    "status": {"title": "Status", "type": "string"},
    "error": {"title": "Error", "type": "string"},
    "logs": {"title": "Logs", "type": "string"},
    "metrics": {"title": "Metrics", "type": "object"},
}


def make_document(signature: Json) -> Json:
    """The document of a model's signature, which is the result of ``in_model/signature.py``.

    Its key ``schemas`` maps ``Input``, ``Output`` and the names of enumerations to their schemas. Its key ``streaming``
    is whether the model's function has ``@cog.streaming``.
    """
    predict = _operation("Predict", "predict_predictions_post", _content(_ref("PredictionResponse")))
    predict |= {
        "description": "Run a single prediction on the model",
        "requestBody": {"content": _content(_ref("PredictionRequest"))},
    }
    cancel = _operation("Cancel", "cancel_predictions__prediction_id__cancel_post")
    cancel["parameters"] = [
        {
            "required": True,
            "schema": {"title": "Prediction Id", "type": "string"},
            "name": "prediction_id",
            "in": "path",
        }
    ]
    for operation in (predict, cancel):
        operation["responses"]["422"] = _VALIDATION_ERROR | {"content": _content(_ref("HTTPValidationError"))}
    paths = {
        "/": {"get": _operation("Root", "root__get")},
        "/health-check": {"get": _operation("Healthcheck", "healthcheck_health_check_get")},
        "/predictions": {"post": predict},
        "/predictions/{prediction_id}/cancel": {"post": cancel},
    }
    document = {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": COG.partition("==")[2]},
        "paths": paths,
        "components": {"schemas": {**signature["schemas"], **_components()}},
    }
    return streaming(document) if signature["streaming"] else document


def streaming(document: Json) -> Json:
    """The document with ``x-cog-streaming``. Without it, Cog's server refuses to respond with an event stream."""
    paths = document["paths"]
    predict = {"post": paths["/predictions"]["post"] | {"x-cog-streaming": True}}
    return document | {"paths": paths | {"/predictions": predict}}


def _components() -> Json:
    inputs = {"input": _ref("Input")}
    request = _object("PredictionRequest", {"id": {"title": "Id", "type": "string"}, **inputs})
    response = _object("PredictionResponse", {**inputs, "output": _ref("Output"), **_RESPONSE_FIELDS})
    details = {"title": "Detail", "type": "array", "items": _ref("ValidationError")}
    steps = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    error = _object(
        "ValidationError",
        {
            "loc": {"title": "Location", "type": "array", "items": steps},
            "msg": {"title": "Message", "type": "string"},
            "type": {"title": "Error Type", "type": "string"},
        },
    )
    return {
        "PredictionRequest": request,
        "PredictionResponse": response,
        "Status": {
            "title": "Status",
            "description": "An enumeration.",
            "enum": ["starting", "processing", "succeeded", "canceled", "failed"],
            "type": "string",
        },
        "HTTPValidationError": _object("HTTPValidationError", {"detail": details}),
        "ValidationError": error | {"required": ["loc", "msg", "type"]},
    }


def _object(title: str, properties: Json) -> Json:
    return {"title": title, "type": "object", "properties": properties}


def _operation(summary: str, id: str, content: Json | None = None) -> Json:  # noqa: A002 - the document's own name
    answer = {"description": "Successful Response", "content": content or _content({})}
    return {"summary": summary, "operationId": id, "responses": {"200": answer}}


def _content(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
