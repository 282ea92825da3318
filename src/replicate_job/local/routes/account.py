"""``/v1/account``, ``/v1/hardware``, the webhooks' secret, and trainings, which this server refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_job.local.account import ACCOUNT, HARDWARE
from replicate_job.serving.answer import Answer, json_answer, problem
from replicate_job.serving.route import route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from replicate_job.local.parts import Parts

_NO_TRAININGS = problem(501, "Models are not trained on this machine: train on replicate.com", "Not implemented")


class AccountRoutes:
    def __init__(self, parts: Parts) -> None:
        self._webhook_secret = parts.webhooks.secret

    def routes(self) -> list[BaseRoute]:
        trainings = "/v1/trainings"
        return [
            route("/v1/account", get=self.account),
            route("/v1/hardware", get=self.hardware),
            route("/v1/webhooks/default/secret", get=self.secret),
            route(trainings, get=self.refuse_training),
            route(f"{trainings}/{{id}}", get=self.refuse_training),
            route(f"{trainings}/{{id}}/cancel", post=self.refuse_training),
            route("/v1/models/{owner}/{name}/versions/{version}/trainings", post=self.refuse_training),
        ]

    async def account(self, _: Request) -> Answer:
        return json_answer(ACCOUNT)

    async def hardware(self, _: Request) -> Answer:
        return json_answer([{"name": name, "sku": sku} for sku, name in HARDWARE.items()])

    async def secret(self, _: Request) -> Answer:
        return json_answer({"key": self._webhook_secret})

    async def refuse_training(self, _: Request) -> Answer:
        return _NO_TRAININGS
