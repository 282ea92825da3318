"""``/v1/account``, ``/v1/hardware``, the secret of webhooks, and trainings, which this server does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_job.local.account import ACCOUNT, HARDWARE
from replicate_job.serving.answer import NOT_FOUND, Answer, json_answer, problem
from replicate_job.serving.resource import page_body
from replicate_job.serving.route import or_refuse, route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from replicate_job.local.parts import Parts

# Not 501, because clients retry after a 5xx.
_NO_TRAININGS = problem(422, "Models are not trained on this machine: train on replicate.com", "Not available here")


class AccountRoutes:
    def __init__(self, parts: Parts) -> None:
        self._webhook_secret, self._catalog = parts.webhooks.secret, parts.catalog

    def routes(self) -> list[BaseRoute]:
        trainings = "/v1/trainings"
        return [
            route("/v1/account", get=self.account),
            route("/v1/hardware", get=self.hardware),
            route("/v1/webhooks/default/secret", get=self.secret),
            route(trainings, get=self.trainings),
            route(f"{trainings}/{{id}}", get=self.no_training),
            route(f"{trainings}/{{id}}/cancel", post=self.no_training),
            route("/v1/models/{owner}/{name}/versions/{version}/trainings", post=self.train),
        ]

    async def account(self, _: Request) -> Answer:
        return json_answer(ACCOUNT)

    async def hardware(self, _: Request) -> Answer:
        return json_answer([{"name": name, "sku": sku} for sku, name in HARDWARE.items()])

    async def secret(self, _: Request) -> Answer:
        return json_answer({"key": self._webhook_secret})

    async def trainings(self, _: Request) -> Answer:
        return json_answer(page_body([]))

    async def no_training(self, _: Request) -> Answer:
        return NOT_FOUND

    async def train(self, request: Request) -> Answer:
        version, owner, name = (request.path_params[name] for name in ("version", "owner", "name"))
        model = or_refuse(await self._catalog.version(version))
        return _NO_TRAININGS if model.slug == f"{owner}/{name}" else NOT_FOUND
