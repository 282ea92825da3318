"""``/v1/deployments``."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

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
from replicate_job.serving.validation import Validator

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from replicate_job.local.deployments import LocalDeployment
    from replicate_job.local.parts import Parts

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NO_NAME = InvalidField(
    "pattern", "name", "must be 1 to 100 letters, digits, '.', '_' and '-', a letter or digit first"
)


_FIELDS: dict[str, Any] = {
    "name": {"type": "string"},
    "model": {"type": "string"},
    "version": {"type": "string"},
    "hardware": {"type": "string", "enum": list(HARDWARE)},
    "min_instances": {"type": "integer", "minimum": 0, "maximum": 5},
    "max_instances": {"type": "integer", "minimum": 0, "maximum": 20},
}
_CHANGING = {name: schema for name, schema in _FIELDS.items() if name not in {"name", "model"}}


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
        facts = _read(await read_bytes(request), is_new=True)
        if not _NAME.fullmatch(short := facts.pop("name")):
            raise RefusedError(invalid(_NO_NAME))
        name = f"{USERNAME}/{short}"
        if self._deployments.get(name):
            raise RefusedError(problem(409, f"There is a deployment {name} already", "Conflict"))
        await self._check_version(facts["model"], facts)
        _check_counts(facts)
        return json_answer(_body(self._deployments.release(name, **facts)))

    async def get(self, request: Request) -> Answer:
        return json_answer(_body(self._deployment(request)))

    async def update(self, request: Request) -> Answer:
        deployment = self._deployment(request)
        facts = _read(await read_bytes(request), is_new=False)
        await self._check_version(deployment.model, facts)
        _check_counts(msgspec.structs.asdict(deployment) | facts)
        return json_answer(_body(self._deployments.release(deployment.name, **facts)))

    async def delete(self, request: Request) -> Answer:
        self._deployments.delete(self._deployment(request).name)
        return DELETED

    async def _check_version(self, model: str, facts: dict[str, Any]) -> None:
        """Raise RefusedError if ``facts`` have a version that this model does not have.

        Without a version in ``facts``, nothing is checked. The deployment then keeps its version, which may have been
        removed since.
        """
        version = await self._catalog.version(facts["version"]) if "version" in facts else None
        if "version" in facts and (version is None or version.slug != model):
            raise RefusedError(NO_VERSION)

    def _deployment(self, request: Request) -> LocalDeployment:
        return or_refuse(self._deployments.get(f"{request.path_params['owner']}/{request.path_params['name']}"))


def _read(body: bytes, *, is_new: bool) -> dict[str, Any]:
    """Read the fields of the body. Raises RefusedError with all their faults."""
    fields = read_object(body)
    _validator(is_new=is_new).check(fields)
    # JSON Schema accepts 1.0 as an integer.
    return {name: int(value) if isinstance(value, float) else value for name, value in fields.items()}


@cache
def _validator(*, is_new: bool) -> Validator:
    fields = _FIELDS if is_new else _CHANGING
    schema = {"type": "object", "properties": fields, "additionalProperties": False}
    schema |= {"required": list(fields)} if is_new else {}
    return Validator({"components": {"schemas": {"Input": schema}}}, root="")


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
