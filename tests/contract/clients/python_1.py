"""Every scenario with ``replicate`` 1.x; prints what each one gave."""

import io
import json
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import replicate  # type: ignore[import-not-found]
from replicate.exceptions import ModelError, ReplicateError  # type: ignore[import-not-found]
from replicate.webhook import WebhookValidationError  # type: ignore[import-not-found]

facts = json.loads(sys.argv[1])
HELLO = "replicate/hello-world:5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
TEXT = "one two\nthree"
PICTURE = {"prompt": "a hill", "megapixels": "0.25", "num_inference_steps": 1}


def newest(name: str) -> str:
    return str(replicate.models.get(name).latest_version.id)


def read(output: Any) -> str:
    if hasattr(output, "read"):
        return str(output.read().decode("latin-1"))
    with urllib.request.urlopen(output) as answer:  # noqa: S310 - this machine's own address
        return str(answer.read().decode("latin-1"))


def status_of(work: Callable[[], object]) -> int:
    """The error that the API answers with."""
    try:
        work()
    except ReplicateError as error:
        return int(error.status)
    return 200


def run() -> object:
    return {
        "official": [read(each)[:4] for each in replicate.run("black-forest-labs/flux-schnell", input=PICTURE)],
        "version": replicate.run(HELLO, input={"text": "all"}),
        "community": status_of(lambda: replicate.run("me/words", input={"text": "x"})),
        "words": list(replicate.run(f"me/words:{newest('me/words')}", input={"text": TEXT})),
    }


def create_and_wait() -> object:
    prediction = replicate.predictions.create(version=newest("me/words"), input={"text": TEXT})
    created = prediction.status
    prediction.wait()
    again = replicate.predictions.get(prediction.id)
    return {"created": created, "status": prediction.status, "output": again.output, "logs": again.logs}


def blocking() -> object:
    prediction = replicate.predictions.create(version=newest("me/words"), input={"text": TEXT}, wait=True)
    return {"status": prediction.status, "output": prediction.output}


def stream() -> object:
    streamed = replicate.stream(f"me/words:{newest('me/words')}", input={"text": TEXT})
    events = [(event.event.value, event.data) for event in streamed]
    return {"text": "".join(data for kind, data in events if kind == "output"), "events": events}


def cancel() -> object:
    prediction = replicate.predictions.create(version=newest("me/words"), input={"text": TEXT, "pause": 60})
    while prediction.status == "starting":
        time.sleep(0.05)
        prediction.reload()
    before = prediction.status
    prediction.cancel()
    prediction.wait()
    return {"before": before, "after": prediction.status}


def pages() -> object:
    version = newest("replicate/hello-world")
    made = [replicate.predictions.create(version=version, input={"text": str(n)}).id for n in range(105)]
    found = list(replicate.paginate(replicate.predictions.list))
    return {
        "sizes": [len(page) for page in found],
        "made": made,
        "listed": [each.id for page in found for each in page],
    }


def files() -> object:
    file = replicate.files.create(Path(facts["file"]), metadata={"mine": 1})
    listed = [each.id for each in replicate.files.list()]
    return {
        "file": {"name": file.name, "type": file.content_type, "size": file.size},
        "metadata": file.metadata,
        "same": replicate.files.get(file.id).checksums == file.checksums,
        "sha256": file.checksums["sha256"],
        "listed": file.id in listed,
        "deleted": replicate.files.delete(file.id),
        "after": status_of(lambda: replicate.files.get(file.id)),
    }


def file_input() -> object:
    model = f"me/notes:{newest('me/notes')}"
    with Path(facts["file"]).open("rb") as file:
        uploaded = replicate.run(model, input={"file": file})
    inline = replicate.run(model, input={"file": io.BytesIO(b"inline")}, file_encoding_strategy="base64")
    return {"uploaded": read(uploaded), "inline": read(inline)}


def webhook() -> object:
    replicate.predictions.create(
        version=newest("me/words"), input={"text": TEXT}, webhook=facts["hook"], webhook_events_filter=["completed"]
    )
    with urllib.request.urlopen(facts["hook"]) as answer:  # noqa: S310 - this machine's own address
        seen = json.load(answer)
    secret = replicate.webhooks.default.secret()

    def is_valid(body: str) -> bool:
        try:
            replicate.webhooks.validate(headers=seen["headers"], body=body, secret=secret, tolerance=300)
        except WebhookValidationError:
            return False
        return True

    return {
        "secret": secret.key,
        "seen": seen,
        "valid": is_valid(seen["body"]),
        "tampered": is_valid(seen["body"] + " "),
    }


def models() -> object:
    model = replicate.models.get("me/notes")
    version = model.versions.get(model.latest_version.id)
    return {
        "name": f"{model.owner}/{model.name}",
        "version": model.latest_version.id,
        "inputs": sorted(version.openapi_schema["components"]["schemas"]["Input"]["properties"]),
        "versions": [each.id for each in model.versions.list()],
        "listed": [f"{each.owner}/{each.name}" for page in replicate.paginate(replicate.models.list) for each in page],
        "found": [f"{each.owner}/{each.name}" for each in replicate.models.search("notes")],
        "missing": status_of(lambda: replicate.models.get("me/nothing")),
    }


def deployments() -> object:
    made = replicate.deployments.create(
        name=facts["client"],
        model="me/words",
        version=newest("me/words"),
        hardware="cpu",
        min_instances=0,
        max_instances=1,
    )
    name = f"{made.owner}/{made.name}"
    prediction = replicate.deployments.get(name).predictions.create(input={"text": TEXT})
    prediction.wait()
    updated = replicate.deployments.update(made.owner, made.name, max_instances=2)
    return {
        "name": made.name,
        "model": made.current_release.model,
        "listed": [each.name for each in replicate.deployments.list()],
        "output": prediction.output,
        "updated": updated.current_release.configuration.max_instances,
        "deleted": replicate.deployments.delete(made.owner, made.name),
        "after": status_of(lambda: replicate.deployments.get(name)),
    }


def input_error() -> object:
    try:
        replicate.predictions.create(version=newest("me/notes"), input={"times": 9, "style": "odd"})
    except ReplicateError as error:
        return {"status": error.status, "title": error.title, "detail": error.detail}
    return None


def failing() -> object:
    try:
        replicate.run(f"me/words:{newest('me/words')}", input={"text": ""})
    except ModelError as error:
        return {"message": str(error), "status": error.prediction.status, "logs": error.prediction.logs}
    return None


def account() -> object:
    return {
        "name": replicate.default_client.accounts.current().username,
        "hardware": [each.sku for each in replicate.hardware.list()],
        "trainings": status_of(replicate.trainings.list),
    }


def main() -> None:
    scenarios = [
        run,
        create_and_wait,
        blocking,
        stream,
        cancel,
        files,
        file_input,
        webhook,
        models,
        deployments,
        input_error,
        failing,
        account,
        pages,
    ]
    given: dict[str, object] = {}
    for scenario in scenarios:
        try:
            given[scenario.__name__] = scenario()
        except Exception as error:  # noqa: BLE001 - it is the scenario's result; the others go on
            given[scenario.__name__] = {"raised": f"{type(error).__name__}: {error}"}
    print(json.dumps(given))  # noqa: T201 - this is what it is for


main()
