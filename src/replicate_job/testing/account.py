"""The state of the scripted API, without HTTP: one account with its models and predictions."""

from __future__ import annotations

import hashlib
import random
import time
from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING, Any

from replicate_job.serving.answer import NO_VERSION, NOT_FOUND, RefusedError
from replicate_job.serving.creation import read_creation, read_training, read_version
from replicate_job.serving.headers import read_cancel_after
from replicate_job.serving.page import ListPage, read_page
from replicate_job.serving.resource import prediction_urls
from replicate_job.serving.route import or_refuse
from replicate_job.serving.search import fits
from replicate_job.serving.validation import Validator
from replicate_job.testing.models import WEB
from replicate_job.testing.predictions import ScriptedPrediction
from replicate_job.testing.script import Script
from replicate_job.testing.trainings import ScriptedTraining
from replicate_job.wire.openapi import training_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicate_job.testing.delivery import Delivery
    from replicate_job.testing.models import ScriptedDeployment, ScriptedModel
    from replicate_job.testing.record import RecordedRequest

WEIGHTS = "https://replicate.delivery/xezq"


class ScriptedAccount:
    """The account of a scripted API. Its methods raise RefusedError with the API's error response.

    Only the server's thread may change the account.
    """

    def __init__(
        self, models: Iterable[ScriptedModel], deployments: Iterable[ScriptedDeployment], delivery: Delivery
    ) -> None:
        self.models = {model.name: model for model in models}
        self.deployments = {deployment.name: deployment for deployment in deployments}
        self.predictions: list[ScriptedPrediction] = []
        self.created = 0
        self.remember: int | None = None
        self.scripts: deque[Script] = deque()
        self.script: Script | None = None
        self.retention, self.missing_for = 3600.0, 0.0
        self.list_lag: tuple[float, float] = (0.0, 0.0)
        self.origin = ""
        self.trainings: dict[str, ScriptedTraining] = {}
        self._delivery = delivery
        self._by_id: dict[str, ScriptedPrediction] = {}
        self._forget_at = 0
        self._random = random.Random(0)  # noqa: S311 - repeatable, not secret

    def create(self, request: RecordedRequest, *, model: str = "", deployment: str = "") -> ScriptedPrediction:
        """Create a prediction from a create request. ``model`` or ``deployment`` is set if the path names one."""
        creation = read_creation(request.body, names_version=not model and not deployment)
        target, version = self._resolve(model, deployment) if model or deployment else self._named(creation.version)
        target.validator.check(creation.input)
        prediction = ScriptedPrediction(
            model=target.name,
            version="hidden" if target.official else version,
            raw_input=creation.raw_input,
            script=self._next_script(target, creation.input),
            request=request,
            deployment=deployment,
            webhook=creation.webhook,
            webhook_events_filter=creation.filter,
            cancel_after=read_cancel_after(request.headers.get("cancel-after")),
            retention=self.retention,
        )
        self._add(prediction)
        return prediction

    def find(self, prediction_id: str) -> ScriptedPrediction | None:
        return self._by_id.get(prediction_id)

    def get(self, prediction_id: str) -> ScriptedPrediction:
        prediction = self._by_id.get(prediction_id)
        if prediction is None or time.time() < prediction.visible:
            raise RefusedError(NOT_FOUND)
        return prediction

    def page(self, after: float | None, before: float | None, cursor: str | None) -> ListPage[ScriptedPrediction]:
        """One page of the predictions that were created in [after, before), Unix times."""
        now, items = time.time(), self.predictions
        if after is not None:
            items = items[bisect_left(items, after, key=_created) :]
        if before is not None:
            items = items[: bisect_left(items, before, key=_created)]
        return read_page(items, _number, cursor, lambda prediction: now >= prediction.listed)

    def model(self, name: str) -> ScriptedModel:
        return or_refuse(self.models.get(name))

    def deployment(self, name: str) -> dict[str, Any]:
        deployment = or_refuse(self.deployments.get(name))
        return deployment.describe(deployment.version or self.model(deployment.model).version_ids[0])

    def search(self, query: str) -> list[dict[str, Any]]:
        """The objects of the public models that match the query."""
        public = [model for model in self.models.values() if model.visibility == "public"]
        return [model.describe() for model in public if fits(query, model.name, model.description)]

    def train(self, name: str, version: str, body: bytes) -> ScriptedTraining:
        """Start a training from the body of its create request."""
        model = self.model(name)
        if version not in model.version_ids:
            raise RefusedError(NOT_FOUND)
        creation = read_training(body)
        Validator(training_schema(model.schema)).check(creation.input)
        script = self._next_script(model, creation.input) if self.scripts or self.script else Script()
        trained = hashlib.sha256(f"{creation.destination} {len(self.trainings)}".encode()).hexdigest()
        made = {"version": f"{creation.destination}:{trained}", "weights": f"{WEIGHTS}/{trained[:20]}.tar"}
        training = ScriptedTraining(
            model=name,
            version=version,
            status="processing",
            input=creation.input,
            output=made,
            error=script.error or "the script says so",
            logs=script.logs if isinstance(script.logs, str) else "",
            duration=script.duration,
            end=script.end,
            destination=creation.destination,
        )
        training.listed = training.created + self._random.uniform(*self.list_lag)
        self.trainings[training.id] = training
        return training

    def training(self, training_id: str) -> ScriptedTraining:
        return or_refuse(self.trainings.get(training_id))

    def describe_training(self, training: ScriptedTraining) -> Mapping[str, Any]:
        return training.describe(self.origin, WEB, self.model(training.model).version_ids[0])

    def page_trainings(self, cursor: str | None) -> ListPage[tuple[int, ScriptedTraining]]:
        """One page of the trainings, each with its number."""
        now = time.time()
        numbered = list(enumerate(self.trainings.values()))
        return read_page(numbered, _first, cursor, lambda each: now >= each[1].listed)

    def describe_deployments(self) -> list[dict[str, Any]]:
        """All deployment objects, newest first."""
        return [self.deployment(name) for name in reversed(self.deployments)]

    def _resolve(self, name: str, deployment: str) -> tuple[ScriptedModel, str]:
        """The model and version that a create request runs, if its path names a model or a deployment."""
        if deployment:
            release = self.deployment(deployment)["current_release"]
            return self.model(release["model"]), release["version"]
        model = self.model(name)
        if not model.official:
            raise RefusedError(NOT_FOUND)
        return model, model.version_ids[0]

    def _named(self, text: str) -> tuple[ScriptedModel, str]:
        """The model and version that the field ``version`` names."""
        target = read_version(text)
        if target.kind == "model":
            return self._resolve(target.slug, "")
        for model in [self.model(target.slug)] if target.slug else self.models.values():
            if target.version in model.version_ids:
                return model, target.version
        raise RefusedError(NO_VERSION)

    def _next_script(self, model: ScriptedModel, inputs: dict[str, Any]) -> Script:
        script = self.scripts.popleft() if self.scripts else self.script or model.script
        return script if isinstance(script, Script) else script(inputs)

    def _add(self, prediction: ScriptedPrediction) -> None:
        stream = self._delivery.origin if prediction.script.stream else ""
        prediction.urls = prediction_urls(prediction.id, api=self.origin, web=WEB, stream=stream)
        prediction.publish(lambda file: self._delivery.publish(file, prediction.removed))
        prediction.number, self.created = self.created, self.created + 1
        prediction.visible = prediction.created + self.missing_for
        prediction.listed = prediction.created + self._random.uniform(*self.list_lag)
        self.predictions.append(prediction)
        self._by_id[prediction.id] = prediction
        if self.remember is not None and len(self.predictions) > max(self._forget_at, 2 * self.remember):
            self._forget(self.remember)

    def _forget(self, remember: int) -> None:
        """Forget all ended predictions except the latest ``remember``. Call it rarely: it reads all predictions."""
        now = time.time()
        ended = [prediction for prediction in self.predictions if now >= prediction.ended]
        forgotten = set(ended[: -remember or None])
        self.predictions = [prediction for prediction in self.predictions if prediction not in forgotten]
        self._by_id = {prediction.id: prediction for prediction in self.predictions}
        self._delivery.forget({prediction.removed for prediction in forgotten})
        # Predictions are forgotten again once there are twice as many. So a creation takes the same time on average.
        self._forget_at = 2 * len(self.predictions)


def _created(prediction: ScriptedPrediction) -> float:
    return prediction.created


def _first(numbered: tuple[int, object]) -> int:
    return numbered[0]


def _number(prediction: ScriptedPrediction) -> int:
    return prediction.number
