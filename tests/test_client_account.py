"""The account's predictions, models and trainings from Python. ``Client`` and ``AsyncClient`` have the same names."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from replicate_job import AsyncClient, Client, Job
from replicate_job.errors import JobError, ModelNotFoundError, UnknownJobError
from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedTraining

SDXL = "stability-ai/sdxl"
PICTURE = Script(duration=0, boot=0, output=[OutputFile(content=b"GIF89a", name="a.gif")])


def elsewhere(api: ScriptedAPI, folder: Path, script: Script = PICTURE) -> str:
    api.next(script)
    with Client(journal=folder / "other.db") as client:
        return client.submit(SDXL, {}).prediction_id


def test_pull_downloads_the_outputs_of_another_program_once(api: ScriptedAPI, tmp_path: Path) -> None:
    made = elsewhere(api, tmp_path)
    running = elsewhere(api, tmp_path, Script(duration=math.inf))
    gone = elsewhere(api, tmp_path, Script(duration=0, boot=0, output=[OutputFile(content=b"x", expires=0)]))
    with Client(save_to=tmp_path / "out") as client:
        pulled = {result.prediction_id: result for result in client.pull(since=timedelta(hours=1))}
        assert pulled.keys() == {made, gone}
        assert [path.read_bytes() for path in pulled[made].files] == [b"GIF89a"]
        assert "gone" in pulled[gone].problem
        assert [result.prediction_id for result in client.pull(model=SDXL)] == [gone]
        named = list(client.pull(made, running, "nothing"))
        assert {result.prediction_id: result.status for result in named} == {
            made: "succeeded",
            running: "starting",
            "nothing": "error",
        } | {running: client.get(running).status}
    assert api.count("download") == 2


def test_pull_without_a_folder_raises_an_error(tmp_path: Path) -> None:
    with Client(journal=tmp_path / "journal.db", base_url="http://127.0.0.1:9") as client:
        with pytest.raises(JobError, match="save_to: name the folder"):
            next(client.pull())
        with pytest.raises(JobError, match="not named"):
            next(client.pull("a", since=timedelta(hours=1), save_to=tmp_path))
        with pytest.raises(JobError, match="names no model"):
            next(client.pull(model="a", save_to=tmp_path))


async def test_the_predictions_of_the_account_are_listed_with_the_files_that_were_saved(
    api: ScriptedAPI, tmp_path: Path
) -> None:
    async with AsyncClient(save_to=tmp_path) as client:
        api.next(PICTURE)
        kept = await client.run(SDXL, {}, key="order-17")
        api.predictions[0].created -= 3600
        other = await client.submit(SDXL, {})
        listed = [result async for result in client.predictions()]
        assert [result.prediction_id for result in listed] == [other.prediction_id, kept.prediction_id]
        assert (listed[1].key, listed[1].files) == ("order-17", kept.files)
        recent = [result.key async for result in client.predictions(since=timedelta(minutes=5))]
        assert recent == [other.key]


def test_the_error_names_a_wrong_argument_before_anything_is_sent(api: ScriptedAPI, tmp_path: Path) -> None:
    wrong: Any = 7
    with Client(save_to=tmp_path) as client:
        calls: dict[str, Callable[[], object]] = {
            "query": lambda: client.search(wrong),
            "limit": lambda: client.search("a", limit="7"),  # type: ignore[arg-type] # a wrong type on purpose
            "owner": lambda: client.models(wrong),
            "model": lambda: client.readme(wrong),
            "since": lambda: next(client.pull(since=wrong)),
            "name": lambda: next(client.pull(wrong)),
            "training_id": lambda: client.training(wrong),
            "destination": lambda: client.train(SDXL, wrong, {}),
        }
        for name, call in calls.items():
            with pytest.raises(JobError, match=f"^{name}"):
                call()
    assert api.requests == []


def test_models_are_found_with_their_readme_and_example(api: ScriptedAPI) -> None:
    with Client() as client:
        assert [model.model for model in client.search("says hello")] == ["replicate/hello-world"]
        assert [model.model for model in client.models("Replicate")] == ["replicate/hello-world"]
        assert client.readme("replicate/hello-world").startswith("# Hello World")
        job = client.example("replicate/hello-world")
        assert client.run(job).output == "hello Ada"
        for name, problem in (("acme/private", JobError), ("acme/nothing", ModelNotFoundError)):
            with pytest.raises(problem):
                client.readme(name)
            with pytest.raises(problem):
                client.example(name)
        with pytest.raises(JobError, match="limit"):
            client.search("a", limit=51)
        with pytest.raises(JobError, match="does not name a model"):
            client.readme("deployments/acme/flux")
    assert api.count("create") == 1


def test_trainings_and_deployments_are_shown(api: ScriptedAPI) -> None:
    made = ScriptedTraining(model=SDXL, status="processing")
    api.trainings[made.id] = made
    with Client() as client:
        assert [training.id for training in client.trainings()] == [made.id]
        page = f"https://replicate.com/p/{made.id}"
        assert client.training(page).status == "processing"
        assert client.cancel_training(made.id).is_terminal
        (deployment,) = client.deployments()
        assert client.deployment(deployment.deployment) == deployment
        for ask in (client.training, client.cancel_training):
            with pytest.raises(UnknownJobError, match=r"`replicate-job trainings list`"):
                ask("nothing")
        with pytest.raises(ModelNotFoundError):
            client.deployment("acme/nothing")


def test_a_training_is_a_job_with_its_key(api: ScriptedAPI, tmp_path: Path) -> None:
    api.next(Script(duration=0.05))
    with Client(save_to=tmp_path / "out") as client:
        given = {"input_images": "https://example.com/a.zip"}
        result = client.train(SDXL, "acme/fox", given, key="fox-1")
        (made,) = api.trainings.values()
        assert (result.key, result.output, result.files) == ("fox-1", made.output, ())
        assert client.train(SDXL, "acme/fox", given, key="fox-1") == result
        assert client.get("fox-1").prediction_id == client.training(made.id).id == made.id
        with pytest.raises(JobError, match="destination"):
            client.train(SDXL, "", given)
        with pytest.raises(JobError, match="trains none"):
            list(client.batch(Job(SDXL, destination="acme/fox"), [{}]))
    assert api.count("create") == 1
    assert not (tmp_path / "out").exists()


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    for name, method in inspect.getmembers(AsyncClient, inspect.isfunction):
        if not name.startswith("_") and name != "aclose":
            blocking = getattr(Client, name)
            assert inspect.signature(blocking).parameters.keys() == inspect.signature(method).parameters.keys(), name
