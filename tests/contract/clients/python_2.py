"""``replicate`` 2.x, used by a client object."""

from pathlib import Path
from typing import Any

import replicate  # type: ignore[import-not-found]
from replicate.exceptions import ModelError  # type: ignore[import-not-found]
from scenarios import tell  # type: ignore[import-not-found] # lies beside this file

client = replicate.Replicate()


class Client:
    api, refused, failed, held = client, replicate.APIStatusError, ModelError, {"prefer": "wait"}

    def problem(self, error: Any) -> dict[str, Any]:
        return {**error.body, "status": error.status_code}

    def model(self, name: str) -> Any:
        owner, _, short = name.partition("/")
        return client.models.get(model_owner=owner, model_name=short)

    def version(self, model: Any) -> Any:
        place = {"model_owner": model.owner, "model_name": model.name}
        return client.models.versions.get(version_id=model.latest_version.id, **place)

    def versions(self, model: Any) -> Any:
        return client.models.versions.list(model_owner=model.owner, model_name=model.name)

    def models(self) -> Any:
        return client.models.list()

    def found(self, query: str) -> Any:
        return client.models.search(body=query)

    def prediction(self, id_: str) -> Any:
        return client.predictions.get(prediction_id=id_)

    def ended(self, prediction: Any) -> Any:
        return client.predictions.wait(prediction.id)

    def cancel(self, prediction: Any) -> None:
        client.predictions.cancel(prediction_id=prediction.id)

    def pages(self) -> list[list[Any]]:
        return [page.results for page in client.predictions.list().iter_pages()]

    def stream(self, name: str, **given: Any) -> tuple[str, object]:
        """The text. This client polls for it: it has no events, and only the module's ``use`` works."""
        return "".join(replicate.use(name, streaming=True)(**given)), None

    def upload(self, path: Path) -> Any:
        """Upload a file. The client's arguments for name, type and metadata become form fields that the API ignores."""
        return client.files.create(content=(path.name, path.read_bytes(), "text/plain"))

    def files(self) -> Any:
        return client.files.list().results

    def checksums(self, file: Any) -> dict[str, str]:
        return {name: getattr(file.checksums, name) for name in ("sha256", "md5")}

    def secret(self) -> Any:
        return client.webhooks.default.secret.get()

    def is_valid(self, headers: dict[str, str], body: str, secret: Any) -> None:
        """None, because this client cannot check a signature."""

    def deployment(self, owner: str, name: str) -> Any:
        return client.deployments.get(deployment_owner=owner, deployment_name=name)

    def deploy(self, deployment: Any, **given: Any) -> Any:
        place = {"deployment_owner": deployment.owner, "deployment_name": deployment.name}
        return client.deployments.predictions.create(input=given, **place)

    def training(self, id_: str) -> Any:
        return client.trainings.get(training_id=id_)

    def username(self) -> str:
        return str(client.account.get().username)


tell(Client())
