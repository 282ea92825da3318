"""examples/tasks.py in a worker with two processes, over Celery's broker of files."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replicate_job.testing import Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.examples.conftest import Program, Start

TELLS = """
import os

from celery.signals import task_prerun


@task_prerun.connect
def tell(task_id, **_):
    print(f"{task_id} runs in {os.getpid()}")
"""
CLOSES = """
from celery.signals import worker_process_shutdown


@worker_process_shutdown.connect
def look(**_):
    import tasks

    tasks.close_client()  # a second time
    print("the client is closed")
"""
ENDLESS = Script(duration=math.inf)
WORKER = ("celery", "-A", "tasks", "worker", "--concurrency", "2", "--loglevel", "INFO", "--without-mingle")


@pytest.fixture
def worker(start: Start) -> Program:
    return start(*WORKER)


def send(start: Start, *calls: str) -> list[str]:
    """The ids of the tasks that were sent."""
    sender = start("python", "-c", "import tasks\n" + "\n".join(f"print(tasks.{call}.id)" for call in calls))
    assert sender.end() == 0, sender.output
    return [line.strip() for line in sender.lines]


def configure(folder: Path, more: str) -> None:
    """Add this to the workers' configuration."""
    with (folder / "celeryconfig.py").open("a") as config:
        config.write(more)


def keys(environment: dict[str, str]) -> list[str]:
    """The keys of all jobs in the journal."""
    with closing(sqlite3.connect(environment["REPLICATE_JOB_JOURNAL"])) as journal:
        return [key for (key,) in journal.execute("SELECT key FROM jobs ORDER BY seq")]


def test_each_worker_process_runs_its_tasks_with_one_client(folder: Path, start: Start, api: ScriptedAPI) -> None:
    """A process opens the client, uses it for two tasks, and closes it. Then the worker starts a new process."""
    configure(folder, CLOSES)
    worker = start(*WORKER, "--max-tasks-per-child", "2")
    sender = start("python", "send.py")
    assert sender.end() == 0, sender.output
    assert sum(line.startswith("succeeded /") for line in sender.lines) == 4, sender.output
    assert api.count("create") == 4
    worker.wait_for("the client is closed")
    assert "Traceback" not in worker.output
    assert "ERROR" not in worker.output


def test_a_task_whose_process_is_killed_has_one_prediction(
    folder: Path, start: Start, api: ScriptedAPI, environment: dict[str, str]
) -> None:
    configure(folder, f"worker_lost_wait = 0.1\n{TELLS}")
    api.next(ENDLESS)
    worker = start(*WORKER)
    (task,) = send(start, "picture.delay('a fox')")
    api.wait_until(lambda: api.predictions, seconds=60)
    process = worker.wait_for(rf"{task} runs in (\d+)")
    os.kill(int(process), signal.SIGKILL)
    worker.wait_for("exited prematurely")
    api.predictions[0].finish()
    worker.wait_for(rf"Task tasks.picture\[{task}\] succeeded")
    assert api.count("create") == 1
    assert keys(environment) == [f"picture-{task}"]


def test_a_task_that_timed_out_is_retried_and_continues_its_prediction(
    folder: Path, start: Start, api: ScriptedAPI
) -> None:
    configure(folder, 'task_annotations = {"tasks.picture": {"default_retry_delay": 0}}\n')
    api.next(ENDLESS)
    worker = start(*WORKER)
    (task,) = send(start, "picture.delay('a fox', timeout=0.5)")
    worker.wait_for(rf"Task tasks.picture\[{task}\] retry")
    api.predictions[0].finish()
    worker.wait_for(rf"Task tasks.picture\[{task}\] succeeded")
    assert api.count("create") == 1


def test_the_jobs_of_a_worker_that_was_killed_are_finished_by_another_worker(
    start: Start, worker: Program, api: ScriptedAPI, environment: dict[str, str]
) -> None:
    """Their messages are lost, because the file broker deletes a message once a worker has fetched it."""
    api.next(ENDLESS, ENDLESS)
    sent = send(start, "picture.delay('a fox')", "picture.delay('a hare')")
    api.wait_until(lambda: len(api.predictions) == 2, seconds=60)
    worker.kill()
    for prediction in api.predictions:
        prediction.finish()
    another = start(*WORKER)
    (finish,) = send(start, "finish.delay()")
    another.wait_for(rf"Task tasks.finish\[{finish}\] succeeded")
    assert api.count("create") == 2
    assert sorted(keys(environment)) == sorted(f"picture-{task}" for task in sent)
