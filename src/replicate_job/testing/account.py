"""One account of the scripted API: its models, its predictions, its files. The state, without HTTP."""

from __future__ import annotations

import random
import re
import time
from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.serving.answer import (
    NO_VERSION,
    NOT_FOUND,
    InvalidField,
    RefusedError,
    additional,
    invalid,
    problem,
    required,
)
from replicate_job.serving.headers import read_cancel_after, read_time
from replicate_job.serving.resource import prediction_urls
from replicate_job.testing.models import WEB
from replicate_job.testing.predictions import Script, ScriptedPrediction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicate_job.testing.delivery import Delivery
    from replicate_job.testing.models import Deployment, Model
    from replicate_job.testing.record import Request

PAGE = 100
_VERSION = re.compile(r"(?:(?P<model>[^/:]+/[^/:]+))?(?P<colon>:)?(?P<version>[0-9a-f]{64})?")
_FIELDS = {"version", "input", "webhook", "webhook_events_filter", "stream"}


class Account:
    """Raises RefusedError, with the API's answer, for whatever it does not do. Changed by the server's thread alone."""

    def __init__(self, models: Iterable[Model], deployments: Iterable[Deployment], delivery: Delivery) -> None:
        self.models = {model.name: model for model in models}
        self.deployments = {deployment.name: deployment for deployment in deployments}
        self.predictions: list[ScriptedPrediction] = []
        self.created = 0
        self.remember: int | None = None
        self.scripts: deque[Script] = deque()
        self.script: Script | None = None
        self.keep, self.missing_for = 3600.0, 0.0
        self.list_lag: tuple[float, float] = (0.0, 0.0)
        self.origin = ""
        self._delivery = delivery
        self._by_id: dict[str, ScriptedPrediction] = {}
        self._forget_at = 0
        self._random = random.Random(0)  # noqa: S311 - repeatable, not secret

    def create(self, request: Request, *, model: str = "", deployment: str = "") -> ScriptedPrediction:
        """From a request whose ``body`` is set; ``model`` or ``deployment`` where the path names one."""
        body = _decode(request.body)
        given = bytes(body.get("input", b""))
        if unknown := body.keys() - _FIELDS:
            raise RefusedError(invalid(*map(additional, sorted(unknown))))
        if not given:
            raise RefusedError(invalid(required("input")))
        if not given.startswith(b"{"):
            raise RefusedError(invalid(InvalidField("invalid_type", "input", "Invalid type. Expected: object")))
        found, version = self._resolve(body, model, deployment)
        found.validator.check(msgspec.json.decode(given))
        prediction = ScriptedPrediction(
            model=found.name,
            version="hidden" if found.official else version,
            raw_input=msgspec.Raw(given),
            script=self._next_script(found, given),
            request=request,
            deployment=deployment,
            cancel_after=read_cancel_after(request.headers.get("cancel-after")),
            keep=self.keep,
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

    def page(self, after: str | None, before: str | None, cursor: str) -> tuple[list[ScriptedPrediction], str]:
        """Newest first, and the cursor of the next page, empty on the last. Times are ISO 8601: [after, before)."""
        now = time.time()
        found: list[ScriptedPrediction] = []
        first = bisect_left(self.predictions, read_time("created_after", after), key=_created) if after else 0
        end = bisect_left(self.predictions, read_time("created_before", before), key=_created) if before else None
        # A cursor is the number of a prediction, for places shift when older ones are forgotten.
        index = bisect_left(self.predictions, int(cursor), key=_number) if cursor.isdigit() else len(self.predictions)
        index = min(index, len(self.predictions) if end is None else end)
        while index > first:
            index -= 1
            prediction = self.predictions[index]
            if now < prediction.listed:
                continue
            if len(found) == PAGE:
                return found, str(prediction.number + 1)
            found.append(prediction)
        return found, ""

    def model(self, name: str) -> Model:
        if name not in self.models:
            raise RefusedError(NOT_FOUND)
        return self.models[name]

    def deployment(self, name: str) -> dict[str, Any]:
        if name not in self.deployments:
            raise RefusedError(NOT_FOUND)
        deployment = self.deployments[name]
        return deployment.describe(deployment.version or self.model(deployment.model).version_ids[0])

    def _resolve(self, body: dict[str, msgspec.Raw], name: str, deployment: str) -> tuple[Model, str]:
        """What is called, in any of the three ways, and which version of it."""
        if deployment:
            release = self.deployment(deployment)["current_release"]
            return self.model(release["model"]), release["version"]
        if name:
            model = self.model(name)
            if not model.official:
                raise RefusedError(NOT_FOUND)
            return model, model.version_ids[0]
        text = msgspec.json.decode(body.get("version", msgspec.Raw(b"null")))
        if not isinstance(text, str):
            raise RefusedError(invalid(required("version")))
        found = _VERSION.fullmatch(text)
        if found and found["model"] and not found["colon"] and not found["version"]:
            return self._resolve(body, found["model"], "")
        if found and found["version"] and bool(found["colon"]) == bool(found["model"]):
            for model in [self.model(found["model"])] if found["model"] else self.models.values():
                if found["version"] in model.version_ids:
                    return model, found["version"]
        raise RefusedError(NO_VERSION)

    def _next_script(self, model: Model, given: bytes) -> Script:
        script = self.scripts.popleft() if self.scripts else self.script or model.script
        return script if isinstance(script, Script) else script(msgspec.json.decode(given))

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
        """Keep what runs and the latest of what has ended. It looks at all, so it must be seldom."""
        now = time.time()
        ended = [prediction for prediction in self.predictions if now >= prediction.ended]
        gone = set(ended[: -remember or None])
        self.predictions = [prediction for prediction in self.predictions if prediction not in gone]
        self._by_id = {prediction.id: prediction for prediction in self.predictions}
        self._delivery.forget({prediction.removed for prediction in gone})
        self._forget_at = 2 * len(self.predictions)


def _created(prediction: ScriptedPrediction) -> float:
    return prediction.created


def _number(prediction: ScriptedPrediction) -> int:
    return prediction.number


def _decode(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RefusedError(problem(400, "Request body must be a JSON object", "Bad request")) from None
