"""The target of a job: a model, a version of a model, or a deployment."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from replicate_job.base_errors import JobError

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_VERSION = r"[0-9a-f]{64}"
_TARGET = re.compile(
    rf"(?:(?P<deployment>deployments/))?(?:(?P<owner>{_NAME})/(?P<name>{_NAME}))?"
    rf"(?P<colon>:)?(?P<version>{_VERSION}|(?<=:)latest)?/?"
)
_PAGE = r"(?:https?://)?(?:www\.)?(?:api\.)?replicate\.com/(?:v1/)?(?P<path>[^?#\s]*)(?:[?#]\S*)?"
_TABS = r"api|examples|llms\.txt|playground|predictions|readme|runs|train|versions"
_MODEL_PAGE = (
    rf"(?:models/)?(?P<slug>(?:deployments/)?{_NAME}/{_NAME})/(?:versions/(?P<version>{_VERSION})|(?:{_TABS}))(?:/.*)?"
)
_PREDICTION = (
    r"https?://\S+?(?:/(?:p|predictions)/|[?&]prediction=)(?P<id>\w+)(?:[/?#&]\S*)?|replicate\.com/p/(?P<bare>\w+)\S*"
)
_TRAINING = r"https?://\S+?/(?:p|trainings)/(?P<id>\w+)(?:[/?#]\S*)?|replicate\.com/p/(?P<bare>\w+)\S*"


class Target(msgspec.Struct, frozen=True):
    """A target of one ``kind``. ``version`` is 64 hex digits if the target is a version, else empty.

    ``owner`` and ``name`` are empty for a bare version id.
    """

    kind: Literal["model", "version", "deployment"]
    owner: str = ""
    name: str = ""
    version: str = ""

    @property
    def slug(self) -> str:
        return f"{self.owner}/{self.name}" if self.name else ""

    def __str__(self) -> str:
        if self.kind == "deployment":
            return f"deployments/{self.slug}"
        return ":".join(part for part in (self.slug, self.version) if part)


def parse_target(text: str) -> Target:
    """Read ``owner/name``, ``owner/name:64hex``, ``owner/name:latest``, ``64hex`` or ``deployments/owner/name``.

    The address of a page on replicate.com is accepted too. Raises JobError, whose message lists the forms.
    """
    found = _TARGET.fullmatch(_named(text.strip()))
    if found:
        deployment, owner, name, colon, version = found.groups("")
        if deployment and owner and not version and not colon:
            return Target("deployment", owner, name)
        if not deployment and owner and bool(version) == bool(colon):
            version_id = version.removesuffix("latest")
            return Target("version" if version_id else "model", owner, name, version_id)
        if not deployment and not owner and version and not colon:
            return Target("version", version=version)
    forms = "write owner/name, owner/name:version (64 hex digits), a version id, or deployments/owner/name"
    if (prediction := read_prediction_id(text)) != text:
        raise JobError(f"{text!r} is the prediction {prediction} and names no model: {forms}")
    raise JobError(f"{text!r} names no model: {forms}")


def _named(text: str) -> str:
    """The name in the address of a page or of the API, in a form that ``_TARGET`` matches.

    Other texts are not changed.
    """
    page = re.fullmatch(_PAGE, text) if "replicate.com" in text else None
    if page is None or page["path"].startswith(("p/", "predictions/")):
        return text
    path = page["path"].rstrip("/")
    if found := re.fullmatch(_MODEL_PAGE, path):
        return f"{found['slug']}:{found['version']}" if found["version"] else found["slug"]
    return path.removeprefix("models/") if path.count("/") > 1 else path


def read_owner(text: str) -> str:
    """Check the name of a user or an organization, and return it without spaces around it. Raises JobError."""
    if not re.fullmatch(_NAME, text.strip()):
        raise JobError(f"{text!r} is not the name of a user or an organization")
    return text.strip()


def read_training_id(text: str) -> str:
    """The id in the address of a training's page, or of the training at an API. Other texts are not changed."""
    found = re.fullmatch(_TRAINING, text.strip())
    return (found["id"] or found["bare"]) if found else text


def read_prediction_id(text: str) -> str:
    """The id in the address of a prediction's page, or of the prediction at an API. Other texts are not changed."""
    found = re.fullmatch(_PREDICTION, text.strip())
    return (found["id"] or found["bare"]) if found else text
