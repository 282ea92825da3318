"""Removes secrets and file contents from a row once no further request needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.inputs.secrets import hide
from replicate_job.inputs.sent_file import file_names, name_files

if TYPE_CHECKING:
    from replicate_job.job import Job
    from replicate_job.journal.entry import CreateRequest
    from replicate_job.wire.prediction import Prediction

_DATA = b'"data:'


def needs_strip(request: CreateRequest | None) -> bool:
    """Whether the request has a secret or a file. Most requests have neither."""
    return request is not None and (bool(request.secrets) or request.body.lower().find(_DATA) >= 0)


def strip_job(job: Job, request: CreateRequest) -> Job:
    return msgspec.structs.replace(job, input_data=_strip(job.input_data, job, request))


def strip_request(job: Job, request: CreateRequest) -> CreateRequest:
    body = msgspec.json.decode(request.body)
    body["input"] = _strip(body["input"], job, request)
    return msgspec.structs.replace(request, body=msgspec.json.encode(body))


def strip_prediction(prediction: Prediction, job: Job, request: CreateRequest) -> Prediction:
    if not prediction.input:
        return prediction
    return msgspec.structs.replace(prediction, input=_strip(prediction.input, job, request))


def _strip(values: dict[str, Any], job: Job, request: CreateRequest) -> dict[str, Any]:
    """Hide secrets, and replace each file by its name, media type, size and SHA-256."""
    return name_files(hide(values, request.secrets), file_names(job.input_data), texts=True)
