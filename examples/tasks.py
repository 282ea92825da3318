# tasks.py
"""Pictures in the background: ``celery -A tasks worker``."""

from typing import Any

from celery import Celery, Task
from celery.signals import worker_process_init, worker_process_shutdown

from replicate_job import Client
from replicate_job.errors import JobTimeoutError

app = Celery("tasks", config_source="celeryconfig")
client: Client  # of this process


@worker_process_init.connect
def open_client(**_: object) -> None:
    """After the fork, which threads and connections do not survive."""
    global client
    client = Client(save_to="outputs")


@worker_process_shutdown.connect
def close_client(**_: object) -> None:
    client.close()


@app.task(
    bind=True,
    acks_late=True,
    reject_on_worker_lost=True,
    default_retry_delay=10,
    max_retries=None,
)
def picture(self: Task, prompt: str, timeout: float = 300) -> dict[str, Any]:
    """Every try has the task's id, and so the same prediction."""
    model, key = "black-forest-labs/flux-schnell", f"picture-{self.request.id}"
    try:
        result = client.run(model, {"prompt": prompt}, key=key, timeout=timeout)
    except JobTimeoutError as error:  # the prediction runs on, and the next try gets it
        raise self.retry(exc=error) from None
    return result.raise_for_status().to_dict()


@app.task
def finish() -> list[str]:
    """Finish the jobs of tasks that no worker will try again, as after a power cut. Call it after a start."""
    return [result.key for result in client.resume()]
