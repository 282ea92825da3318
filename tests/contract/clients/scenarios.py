"""Scenarios for the official Python clients. The calls of each client are in its own file."""

import io
import json
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

facts = json.loads(sys.argv[1])
HELLO = "replicate/hello-world:5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
OLDER_HELLO = "replicate/hello-world:9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
TEXT = "one two\nthree"
PICTURE = {"prompt": "a hill", "megapixels": "0.25", "num_inference_steps": 1}


class Client(Protocol):
    """One client: its entry point, and the calls that differ between releases."""

    api: Any
    refused: type[Exception]
    """The exception that it raises if the API refuses a request."""
    failed: type[Exception]
    """The exception that its ``run`` raises if the model fails."""
    held: dict[str, Any]
    """The arguments that make a create request wait for the end."""

    def problem(self, error: Any) -> dict[str, Any]:
        """The ``status`` and the fields of an error response, as far as the client shows them."""

    def model(self, name: str) -> Any: ...
    def version(self, model: Any) -> Any:
        """The model's newest version, from a request of its own."""

    def versions(self, model: Any) -> Any: ...
    def models(self) -> Any: ...
    def found(self, query: str) -> Any:
        """The models that a search finds."""

    def prediction(self, id_: str) -> Any: ...
    def ended(self, prediction: Any) -> Any:
        """Wait for the prediction's end."""

    def cancel(self, prediction: Any) -> None: ...
    def pages(self) -> list[list[Any]]:
        """The predictions, page by page."""

    def stream(self, name: str, **given: Any) -> tuple[str, object]:
        """The streamed text, and the events if the client shows them."""

    def upload(self, path: Path) -> Any: ...
    def files(self) -> Any: ...
    def checksums(self, file: Any) -> dict[str, str]: ...
    def secret(self) -> Any: ...
    def is_valid(self, headers: dict[str, str], body: str, secret: Any) -> bool | None:
        """Whether a webhook's signature is right; None if the client cannot check it."""

    def deployment(self, owner: str, name: str) -> Any: ...
    def deploy(self, deployment: Any, **given: Any) -> Any:
        """Create a prediction of a deployment."""

    def username(self) -> str: ...
    def training(self, id_: str) -> Any: ...


def newest(client: Client, name: str) -> str:
    return str(client.model(name).latest_version.id)


def create(client: Client, name: str, given: dict[str, Any], **more: Any) -> Any:
    return client.api.predictions.create(version=newest(client, name), input=given, **more)


def read(output: Any) -> str:
    if hasattr(output, "read"):
        return str(output.read().decode("latin-1"))
    with urllib.request.urlopen(output) as answer:  # noqa: S310 - an address on this machine
        return str(answer.read().decode("latin-1"))


def status_of(client: Client, work: Callable[[], object]) -> int:
    """The status of the error with which the API answers."""
    try:
        work()
    except client.refused as error:
        return int(client.problem(error)["status"])
    return 200


def run(client: Client) -> object:
    return {
        "official": [read(each)[:4] for each in client.api.run("black-forest-labs/flux-schnell", input=PICTURE)],
        "version": client.api.run(HELLO, input={"text": "all"}),
        "older": client.api.run(OLDER_HELLO, input={"text": "all"}),
        "community": status_of(client, lambda: client.api.run("me/words", input={"text": "x"})),
        "words": list(client.api.run(f"me/words:{newest(client, 'me/words')}", input={"text": TEXT})),
    }


def create_and_wait(client: Client) -> object:
    prediction = create(client, "me/words", {"text": TEXT})
    created = prediction.status
    ended = client.ended(prediction)
    again = client.prediction(prediction.id)
    return {"created": created, "status": ended.status, "output": again.output, "logs": again.logs}


def blocking(client: Client) -> object:
    prediction = create(client, "me/words", {"text": TEXT}, **client.held)
    return {"status": prediction.status, "output": prediction.output}


def stream(client: Client) -> object:
    text, events = client.stream("me/words", text=TEXT)
    return {"text": text, "events": events}


def cancel(client: Client) -> object:
    prediction = create(client, "me/words", {"text": TEXT, "pause": 60})
    while prediction.status == "starting":
        time.sleep(0.05)
        prediction = client.prediction(prediction.id)
    before = prediction.status
    client.cancel(prediction)
    return {"before": before, "after": client.ended(prediction).status}


def files(client: Client) -> object:
    file = client.upload(Path(facts["file"]))
    return {
        "file": {"name": file.name, "type": file.content_type, "size": file.size},
        "metadata": file.metadata or None,
        "same": client.checksums(client.api.files.get(file_id=file.id)) == client.checksums(file),
        "checksums": client.checksums(file),
        "listed": file.id in [each.id for each in client.files()],
        # One client returns whether the file was deleted, and the other raises if it was not.
        "deleted": client.api.files.delete(file_id=file.id) is not False,
        "after": status_of(client, lambda: client.api.files.get(file_id=file.id)),
    }


def file_input(client: Client) -> object:
    model = f"me/notes:{newest(client, 'me/notes')}"
    with Path(facts["file"]).open("rb") as file:
        uploaded = client.api.run(model, input={"file": file})
    inline = client.api.run(model, input={"file": io.BytesIO(b"inline")}, file_encoding_strategy="base64")
    return {"uploaded": read(uploaded), "inline": read(inline)}


def webhook(client: Client) -> object:
    create(client, "me/words", {"text": TEXT}, webhook=facts["hook"], webhook_events_filter=["completed"])
    with urllib.request.urlopen(facts["hook"]) as answer:  # noqa: S310 - an address on this machine
        seen = json.load(answer)
    secret = client.secret()
    valid, tampered = (client.is_valid(seen["headers"], seen["body"] + more, secret) for more in ("", " "))
    return {"secret": secret.key, "seen": seen, "valid": valid, "tampered": tampered}


def models(client: Client) -> object:
    model = client.model("me/notes")
    document = client.version(model).openapi_schema
    return {
        "name": f"{model.owner}/{model.name}",
        "version": model.latest_version.id,
        "inputs": sorted(document["components"]["schemas"]["Input"]["properties"]),
        "versions": [each.id for each in client.versions(model)],
        "listed": [f"{each.owner}/{each.name}" for each in client.models()],
        "found": [f"{each.owner}/{each.name}" for each in client.found("notes")],
        "missing": status_of(client, lambda: client.model("me/nothing")),
        "official": client.version(client.model("black-forest-labs/flux-schnell")).id,
        "example": example(client),
    }


def example(client: Client) -> object:
    """The example of a model that was run before, and the prediction with the same id."""
    client.ended(create(client, "me/words", {"text": TEXT}))
    shown: Any = client.model("me/words").default_example
    found = client.prediction(shown.id if hasattr(shown, "id") else shown["id"])
    return {"status": found.status, "output": found.output}


def deployments(client: Client) -> object:
    known = client.api.deployments
    scale = {"hardware": "cpu", "min_instances": 0, "max_instances": 1}
    made = known.create(name=facts["client"], model="me/words", version=newest(client, "me/words"), **scale)
    place = {"deployment_owner": made.owner, "deployment_name": made.name}
    ended = client.ended(client.deploy(client.deployment(made.owner, made.name), text=TEXT))
    updated = known.update(max_instances=2, **place)
    return {
        "name": made.name,
        "model": made.current_release.model,
        "listed": [each.name for each in known.list()],
        "output": ended.output,
        "updated": updated.current_release.configuration.max_instances,
        "deleted": known.delete(**place) is not False,  # as for files
        "after": status_of(client, lambda: client.deployment(made.owner, made.name)),
    }


def input_error(client: Client) -> object:
    try:
        create(client, "me/notes", {"times": 9, "style": "odd"})
    except client.refused as error:
        return client.problem(error)
    return None


def failing(client: Client) -> object:
    try:
        client.api.run(f"me/words:{newest(client, 'me/words')}", input={"text": ""})
    except client.failed as error:
        ended: Any = error.prediction  # type: ignore[attr-defined] # both clients have it
        return {"message": str(error), "status": ended.status, "logs": ended.logs}
    return None


def account(client: Client) -> object:
    return {
        "name": client.username(),
        "hardware": [each.sku for each in client.api.hardware.list()],
        "trainings": len(list(client.api.trainings.list())),
        "training": status_of(client, lambda: client.training("none")),
    }


def pages(client: Client) -> object:
    made = [create(client, "replicate/hello-world", {"text": str(n)}).id for n in range(105)]
    found = client.pages()
    return {
        "sizes": [len(page) for page in found],
        "made": made,
        "listed": [each.id for page in found for each in page],
    }


SCENARIOS: tuple[Callable[[Client], object], ...] = (
    run, create_and_wait, blocking, stream, cancel, files, file_input, webhook, models, deployments, input_error,
    failing, account, pages,
)  # fmt: skip


def tell(client: Client) -> None:
    """Print what each scenario gave."""
    given: dict[str, object] = {}
    for scenario in SCENARIOS:
        try:
            given[scenario.__name__] = scenario(client)
        except Exception as error:  # noqa: BLE001 - it is the scenario's result; the others go on
            given[scenario.__name__] = {"raised": f"{type(error).__name__}: {error}"}
    print(json.dumps(given))  # noqa: T201 - this is what it is for
