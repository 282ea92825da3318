"""Models, their versions, deployments, uploaded files and the account in the form of the HTTP API."""

from __future__ import annotations

from typing import Any

import msgspec


class Version(msgspec.Struct, frozen=True):
    """``openapi_schema`` is the model's own OpenAPI document: ``components.schemas.Input`` and ``Output``."""

    id: str
    created_at: str | None = None
    cog_version: str | None = None
    openapi_schema: dict[str, Any] | None = None


class Model(msgspec.Struct, frozen=True):
    """Official models run by their name, other models by a version. ``latest_version`` is the newest version."""

    owner: str
    name: str
    description: str | None = None
    visibility: str | None = None
    is_official: bool | None = None
    latest_version: Version | None = None


class Configuration(msgspec.Struct, frozen=True):
    """``hardware`` is an SKU such as ``gpu-t4``."""

    hardware: str | None = None


class Release(msgspec.Struct, frozen=True):
    """``model`` is ``owner/name``."""

    model: str | None = None
    version: str | None = None
    configuration: Configuration | None = None


class Deployment(msgspec.Struct, frozen=True):
    owner: str
    name: str
    current_release: Release | None = None


class UploadedFile(msgspec.Struct, frozen=True):
    """``urls["get"]`` is the address to use in an input; ``expires_at`` is ISO 8601."""

    id: str
    urls: dict[str, str]
    expires_at: str | None = None


class Account(msgspec.Struct, frozen=True):
    username: str = ""
    type: str = ""
    name: str | None = None
