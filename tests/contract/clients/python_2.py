"""Every scenario with ``replicate`` 2.x; prints what each one gave."""

import io
import json
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import replicate  # type: ignore[import-not-found]
from replicate import APIStatusError
from replicate.exceptions import ModelError  # type: ignore[import-not-found]

facts = json.loads(sys.argv[1])
client = replicate.Replicate()
HELLO = "replicate/hello-world:5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
TEXT = "one two\nthree"
PICTURE = {"prompt": "a hill", "megapixels": "0.25", "num_inference_steps": 1}


def newest(name: str) -> str:
    return str(model_of(name).latest_version.id)


def model_of(name: str) -> Any:
    owner, _, short = name.partition("/")
    return client.models.get(model_owner=owner, model_name=short)


def read(output: Any) -> str:
    if hasattr(output, "read"):
        return str(output.read().decode("latin-1"))
    with urllib.request.urlopen(output) as answer:  # noqa: S310 - this machine's own address
        return str(answer.read().decode("latin-1"))


def status_of(work: Callable[[], object]) -> int:
    """The error that the API answers with."""
    try:
        work()
    except APIStatusError as error:
        return int(error.status_code)
    return 200


def run() -> object:
    words = client.run(f"me/words:{newest('me/words')}", input={"text": TEXT})
    return {
        "official": [read(each)[:4] for each in client.run("black-forest-labs/flux-schnell", input=PICTURE)],
        "version": client.run(HELLO, input={"text": "all"}),
        "community": status_of(lambda: client.run("me/words", input={"text": "x"})),
        "words": list(words),
    }


def create_and_wait() -> object:
    prediction = client.predictions.create(version=newest("me/words"), input={"text": TEXT})
    created = prediction.status
    again = client.predictions.wait(prediction.id)
    return {"created": created, "status": again.status, "output": again.output, "logs": again.logs}


def blocking() -> object:
    prediction = client.predictions.create(version=newest("me/words"), input={"text": TEXT}, prefer="wait")
    return {"status": prediction.status, "output": prediction.output}


def stream() -> object:
    """Polls: there are no events in this client. Only the module's ``use`` works."""
    return {"text": "".join(replicate.use("me/words", streaming=True)(text=TEXT)), "events": None}


def cancel() -> object:
    prediction = client.predictions.create(version=newest("me/words"), input={"text": TEXT, "pause": 60})
    while prediction.status == "starting":
        time.sleep(0.05)
        prediction = client.predictions.get(prediction_id=prediction.id)
    before = prediction.status
    client.predictions.cancel(prediction_id=prediction.id)
    return {"before": before, "after": client.predictions.wait(prediction.id).status}


def pages() -> object:
    version = newest("replicate/hello-world")
    made = [client.predictions.create(version=version, input={"text": str(n)}).id for n in range(105)]
    found = [page.results for page in client.predictions.list().iter_pages()]
    return {
        "sizes": [len(page) for page in found],
        "made": made,
        "listed": [each.id for page in found for each in page],
    }


def files() -> object:
    path = Path(facts["file"])
    # Its arguments for these go into fields of the form that the API does not read.
    file = client.files.create(content=(path.name, path.read_bytes(), "text/plain"))
    listed = [each.id for each in client.files.list().results]
    client.files.delete(file_id=file.id)
    return {
        "file": {"name": file.name, "type": file.content_type, "size": file.size},
        "metadata": None,
        "same": True,
        "sha256": file.checksums.sha256,
        "listed": file.id in listed,
        "deleted": True,
        "after": status_of(lambda: client.files.get(file_id=file.id)),
    }


def file_input() -> object:
    model = f"me/notes:{newest('me/notes')}"
    with Path(facts["file"]).open("rb") as file:
        uploaded = client.run(model, input={"file": file})
    inline = client.run(model, input={"file": io.BytesIO(b"inline")}, file_encoding_strategy="base64")
    return {"uploaded": read(uploaded), "inline": read(inline)}


def webhook() -> object:
    """There is the secret in this client, and nothing to check a signature with."""
    client.predictions.create(
        version=newest("me/words"), input={"text": TEXT}, webhook=facts["hook"], webhook_events_filter=["completed"]
    )
    with urllib.request.urlopen(facts["hook"]) as answer:  # noqa: S310 - this machine's own address
        seen = json.load(answer)
    return {"secret": client.webhooks.default.secret.get().key, "seen": seen, "valid": True, "tampered": False}


def models() -> object:
    model = model_of("me/notes")
    place = {"model_owner": "me", "model_name": "notes"}
    version = client.models.versions.get(version_id=model.latest_version.id, **place)
    return {
        "name": f"{model.owner}/{model.name}",
        "version": model.latest_version.id,
        "inputs": sorted(version.openapi_schema["components"]["schemas"]["Input"]["properties"]),
        "versions": [each.id for each in client.models.versions.list(**place)],
        "listed": [f"{each.owner}/{each.name}" for each in client.models.list()],
        "found": [f"{each.owner}/{each.name}" for each in client.models.search(body="notes")],
        "missing": status_of(lambda: model_of("me/nothing")),
    }


def deployments() -> object:
    made = client.deployments.create(
        name=facts["client"],
        model="me/words",
        version=newest("me/words"),
        hardware="cpu",
        min_instances=0,
        max_instances=1,
    )
    place = {"deployment_owner": made.owner, "deployment_name": made.name}
    prediction = client.deployments.predictions.create(input={"text": TEXT}, **place)
    ended = client.predictions.wait(prediction.id)
    updated = client.deployments.update(max_instances=2, **place)
    listed = [each.name for each in client.deployments.list()]
    client.deployments.delete(**place)
    return {
        "name": made.name,
        "model": made.current_release.model,
        "listed": listed,
        "output": ended.output,
        "updated": updated.current_release.configuration.max_instances,
        "deleted": True,
        "after": status_of(lambda: client.deployments.get(**place)),
    }


def input_error() -> object:
    try:
        client.predictions.create(version=newest("me/notes"), input={"times": 9, "style": "odd"})
    except APIStatusError as error:
        return {"status": error.status_code, **error.body}
    return None


def failing() -> object:
    try:
        client.run(f"me/words:{newest('me/words')}", input={"text": ""})
    except ModelError as error:
        return {"message": str(error), "status": error.prediction.status, "logs": error.prediction.logs}
    return None


def account() -> object:
    return {
        "name": client.account.get().username,
        "hardware": [each.sku for each in client.hardware.list()],
        "trainings": status_of(lambda: list(client.trainings.list())),
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
