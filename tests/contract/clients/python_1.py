"""``replicate`` 1.x, used by the module's own functions, as in its README."""

from itertools import chain
from pathlib import Path
from typing import Any

import replicate  # type: ignore[import-not-found]
from replicate.exceptions import ModelError, ReplicateError  # type: ignore[import-not-found]
from replicate.webhook import WebhookValidationError  # type: ignore[import-not-found]
from scenarios import tell  # type: ignore[import-not-found] # lies beside this file


class Client:
    api, refused, failed, held = replicate, ReplicateError, ModelError, {"wait": True}

    def problem(self, error: Any) -> dict[str, Any]:
        """The error's fields. This client drops fields that it does not know."""
        return {"status": error.status, "title": error.title, "detail": error.detail}

    def model(self, name: str) -> Any:
        return replicate.models.get(name)

    def version(self, model: Any) -> Any:
        return model.versions.get(model.latest_version.id)

    def versions(self, model: Any) -> Any:
        return model.versions.list()

    def models(self) -> Any:
        return chain.from_iterable(replicate.paginate(replicate.models.list))

    def found(self, query: str) -> Any:
        return replicate.models.search(query)

    def prediction(self, id_: str) -> Any:
        return replicate.predictions.get(id_)

    def ended(self, prediction: Any) -> Any:
        prediction.wait()
        return prediction

    def cancel(self, prediction: Any) -> None:
        prediction.cancel()

    def pages(self) -> list[list[Any]]:
        return [list(page) for page in replicate.paginate(replicate.predictions.list)]

    def stream(self, name: str, **given: Any) -> tuple[str, object]:
        streamed = replicate.stream(f"{name}:{self.model(name).latest_version.id}", input=given)
        events = [(event.event.value, event.data) for event in streamed]
        return "".join(data for kind, data in events if kind == "output"), events

    def upload(self, path: Path) -> Any:
        return replicate.files.create(path, metadata={"mine": 1})

    def files(self) -> Any:
        return replicate.files.list()

    def checksums(self, file: Any) -> dict[str, str]:
        return dict(file.checksums)

    def secret(self) -> Any:
        return replicate.webhooks.default.secret()

    def is_valid(self, headers: dict[str, str], body: str, secret: Any) -> bool:
        try:
            replicate.webhooks.validate(headers=headers, body=body, secret=secret, tolerance=300)
        except WebhookValidationError:
            return False
        return True

    def deployment(self, owner: str, name: str) -> Any:
        return replicate.deployments.get(f"{owner}/{name}")

    def deploy(self, deployment: Any, **given: Any) -> Any:
        return deployment.predictions.create(input=given)

    def training(self, id_: str) -> Any:
        return replicate.trainings.get(id_)

    def username(self) -> str:
        return str(replicate.default_client.accounts.current().username)


tell(Client())
