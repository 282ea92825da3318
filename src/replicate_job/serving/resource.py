"""Makes the API's JSON objects from single values. Times are Unix times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

Body = dict[str, Any]

REMOVED: Body = {"input": {}, "output": None, "logs": "", "data_removed": True}
"""The fields that replace a prediction's data after their removal."""


def iso(at: float) -> str:
    """A Unix time in the API's format."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def prediction_body(  # noqa: PLR0913 - one argument for each field
    *,
    id: str,  # noqa: A002 - the API's name for the field
    model: str,
    version: str,
    input: Any,
    status: str,
    created_at: float,
    urls: Mapping[str, str],
    output: Any = None,
    logs: str = "",
    error: Any = None,
    started_at: float | None = None,
    completed_at: float | None = None,
    deadline: float | None = None,
    metrics: Mapping[str, Any] | None = None,
    deployment: str = "",
    webhook: str = "",
    webhook_events_filter: Sequence[str] | None = None,
    data_removed: bool = False,
) -> Body:
    """A prediction object. ``input`` may be JSON text (``msgspec.Raw``). With ``data_removed``, the object has no data.

    ``webhook`` and ``webhook_events_filter`` have the values of the create request.
    """
    body = {
        "id": id,
        "model": model,
        "version": version,
        "input": input,
        "logs": logs,
        "output": output,
        "data_removed": False,
        "error": error,
        "source": "api",
        "status": status,
        "created_at": iso(created_at),
        "urls": urls,
    }
    times = {"started_at": started_at, "completed_at": completed_at, "deadline": deadline}
    body |= {name: iso(at) for name, at in times.items() if at is not None}
    optional = {"metrics": metrics, "deployment": deployment, "webhook": webhook}
    body |= {name: value for name, value in optional.items() if value}
    if webhook_events_filter is not None:
        body["webhook_events_filter"] = webhook_events_filter
    return body | REMOVED if data_removed else body


def prediction_urls(id: str, *, api: str, web: str, stream: str = "") -> dict[str, str]:  # noqa: A002 - the API's name for the field
    """The field ``urls``. ``api``, ``web`` and ``stream`` are origins; without ``stream`` there is no stream URL."""
    prediction = f"{api}/v1/predictions/{id}"
    urls = {"web": f"{web}/p/{id}", "get": prediction, "cancel": f"{prediction}/cancel"}
    return urls | {"stream": f"{stream}/stream/{id}"} if stream else urls


def model_body(  # noqa: PLR0913 - one argument for each field
    slug: str,
    *,
    web: str,
    latest_version: Body | None,
    is_official: bool,
    description: str = "",
    visibility: str = "public",
    default_example: Body | msgspec.Raw | None = None,
    cover: str | None = None,
) -> Body:
    """A model object. ``slug`` is ``owner/name``, ``web`` the origin of its page, ``cover`` the URL of a picture."""
    owner, _, name = slug.partition("/")
    return {
        "url": f"{web}/{slug}",
        "owner": owner,
        "name": name,
        "description": description or None,
        "visibility": visibility,
        "is_official": is_official,
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "run_count": 0,
        "cover_image_url": cover,
        "default_example": default_example,
        "latest_version": latest_version,
    }


def training_body(  # noqa: PLR0913 - one argument for each field
    *,
    id: str,  # noqa: A002 - the API's name for the field
    model: str,
    version: str,
    input: Mapping[str, Any],
    status: str,
    output: Mapping[str, Any] | None,
    error: str | None,
    logs: str,
    created_at: float,
    metrics: Mapping[str, Any] | None,
    api: str,
    web: str,
) -> Body:
    """A training object. ``api`` and ``web`` are origins."""
    training = f"{api}/v1/trainings/{id}"
    return {
        "id": id,
        "model": model,
        "version": version,
        "input": input,
        "logs": logs,
        "output": output,
        "error": error,
        "source": "api",
        "status": status,
        "created_at": iso(created_at),
        "urls": {"web": f"{web}/p/{id}", "get": training, "cancel": f"{training}/cancel"},
    } | ({"metrics": metrics} if metrics else {})


def version_body(id: str, *, created_at: float, cog_version: str, openapi_schema: Body | None) -> Body:  # noqa: A002 - the API's name for the field
    return {"id": id, "created_at": iso(created_at), "cog_version": cog_version, "openapi_schema": openapi_schema}


def deployment_body(  # noqa: PLR0913 - one argument for each field
    slug: str,
    *,
    model: str,
    version: str,
    created_at: float,
    created_by: Body,
    number: int = 1,
    hardware: str = "cpu",
    min_instances: int = 0,
    max_instances: int = 1,
) -> Body:
    """A deployment object. ``slug`` and ``model`` are ``owner/name``.

    ``number`` is the number of the current release, and ``created_by`` is an account object.
    """
    owner, _, name = slug.partition("/")
    release = {
        "number": number,
        "model": model,
        "version": version,
        "created_at": iso(created_at),
        "created_by": created_by,
        "configuration": {"hardware": hardware, "min_instances": min_instances, "max_instances": max_instances},
    }
    return {"owner": owner, "name": name, "current_release": release}


def account_body(username: str, name: str, *, type: str = "user") -> Body:  # noqa: A002 - the API's name for the field
    """``type`` is ``user`` or ``organization``."""
    return {"type": type, "username": username, "name": name}


def file_body(  # noqa: PLR0913 - one argument for each field
    *,
    id: str,  # noqa: A002 - the API's name for the field
    name: str,
    content_type: str,
    size: int,
    sha256: str,
    md5: str = "",
    metadata: Mapping[str, Any],
    created_at: float,
    expires_at: float,
    api: str,
) -> Body:
    """A file object. ``api`` is the API's origin; ``md5`` is empty if it is not known.

    ``name`` and ``etag`` are not documented, but the Python client needs them.
    """
    return {
        "id": id,
        "name": name,
        "content_type": content_type,
        "size": size,
        "etag": md5 or sha256,
        "checksums": {"sha256": sha256} | ({"md5": md5} if md5 else {}),
        "metadata": metadata,
        "created_at": iso(created_at),
        "expires_at": iso(expires_at),
        "urls": {"get": f"{api}/v1/files/{id}"},
    }


def page_body(results: Sequence[Any], *, next: str | None = None, previous: str | None = None) -> Body:  # noqa: A002 - the API's name for the field
    """A page of a list. ``next`` and ``previous`` are whole URLs."""
    return {"next": next, "previous": previous, "results": results}
