"""``/v1/deployments``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from replicate_job.local.account import ACCOUNT, HARDWARE, USERNAME
from replicate_job.serving.answer import (
    DELETED,
    NO_VERSION,
    Answer,
    InvalidField,
    RefusedError,
    invalid,
    json_answer,
    problem,
)
from replicate_job.serving.body import read_bytes, read_object
from replicate_job.serving.resource import deployment_body, page_body
from replicate_job.serving.route import or_refuse, route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from replicate_job.local.deployments import LocalDeployment
    from replicate_job.local.parts import Parts

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NO_NAME = InvalidField(
    "pattern", "name", "must be 1 to 100 letters, digits, '.', '_' and '-', a letter or digit first"
)


class _DeploymentChanges(msgspec.Struct, forbid_unknown_fields=True):
    version: str | msgspec.UnsetType = msgspec.UNSET
    hardware: str | msgspec.UnsetType = msgspec.UNSET
    min_instances: Annotated[int, msgspec.Meta(ge=0, le=5)] | msgspec.UnsetType = msgspec.UNSET
    max_instances: Annotated[int, msgspec.Meta(ge=0, le=20)] | msgspec.UnsetType = msgspec.UNSET


class _NewDeployment(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    model: str
    version: str
    hardware: str
    min_instances: Annotated[int, msgspec.Meta(ge=0, le=5)]
    max_instances: Annotated[int, msgspec.Meta(ge=0, le=20)]


class DeploymentRoutes:
    def __init__(self, parts: Parts) -> None:
        self._catalog, self._deployments = parts.catalog, parts.deployments

    def routes(self) -> list[BaseRoute]:
        return [
            route("/v1/deployments", get=self.all, post=self.create),
            route("/v1/deployments/{owner}/{name}", get=self.get, patch=self.update, delete=self.delete),
        ]

    async def all(self, _: Request) -> Answer:
        return json_answer(page_body([_body(deployment) for deployment in self._deployments.all()]))

    async def create(self, request: Request) -> Answer:
        new = _read(await read_bytes(request), _NewDeployment)
        if not _NAME.fullmatch(new.name):
            raise RefusedError(invalid(_NO_NAME))
        name = f"{USERNAME}/{new.name}"
        if self._deployments.get(name):
            raise RefusedError(problem(409, f"There is a deployment {name} already", "Conflict"))
        facts = msgspec.structs.asdict(new)
        del facts["name"]
        await self._check(new.model, facts)
        _check_counts(facts)
        return json_answer(_body(self._deployments.release(name, **facts)))

    async def get(self, request: Request) -> Answer:
        return json_answer(_body(self._deployment(request)))

    async def update(self, request: Request) -> Answer:
        deployment = self._deployment(request)
        facts = msgspec.to_builtins(_read(await read_bytes(request), _DeploymentChanges))
        await self._check(deployment.model, facts)
        _check_counts(msgspec.structs.asdict(deployment) | facts)
        return json_answer(_body(self._deployments.release(deployment.name, **facts)))

    async def delete(self, request: Request) -> Answer:
        self._deployments.delete(self._deployment(request).name)
        return DELETED

    async def _check(self, model: str, facts: dict[str, Any]) -> None:
        """Raises RefusedError for a new version or hardware that does not exist.

        Fields that stay as they are may name what has been removed since.
        """
        version = await self._catalog.version(facts["version"]) if "version" in facts else None
        if "version" in facts and (version is None or version.slug != model):
            raise RefusedError(NO_VERSION)
        if facts.get("hardware", "cpu") not in HARDWARE:
            fault = f"hardware must be one of the following: {', '.join(HARDWARE)}"
            raise RefusedError(invalid(InvalidField("enum", "hardware", fault)))

    def _deployment(self, request: Request) -> LocalDeployment:
        return or_refuse(self._deployments.get(f"{request.path_params['owner']}/{request.path_params['name']}"))


def _read(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(read_object(body), kind)
    except msgspec.ValidationError as error:
        message, _, field = str(error).partition(" - at `$.")
        raise RefusedError(invalid(InvalidField("invalid", field.rstrip("`") or "deployment", message))) from None


def _check_counts(facts: dict[str, Any]) -> None:
    if facts["min_instances"] > facts["max_instances"]:
        fault = InvalidField("number_gte", "max_instances", "Must be greater than or equal to min_instances")
        raise RefusedError(invalid(fault))


def _body(deployment: LocalDeployment) -> dict[str, Any]:
    return deployment_body(
        deployment.name,
        number=deployment.number,
        model=deployment.model,
        version=deployment.version,
        created_at=deployment.created_at,
        created_by=ACCOUNT,
        hardware=deployment.hardware,
        min_instances=deployment.min_instances,
        max_instances=deployment.max_instances,
    )
