"""Run AI models on Replicate as jobs that finish: created once, waited for to their true end, outputs kept.

An application keeps an ``AsyncClient`` or a blocking ``Client`` open. The functions open a client for one call:
``run(model, input)`` blocks, ``arun`` is its coroutine, ``stream`` and ``astream`` yield text as it comes, ``batch``
yields the results of many inputs, in a ``for`` or an ``async for``. These functions take a model's name or a ``Job``,
which ``load_job("run.xs")`` reads from a file. The outcome is a ``Result``. Errors are in ``replicate_job.errors``.
"""

from __future__ import annotations

from replicate_job.version import __version__

TYPE_CHECKING = False  # importing it from `typing` would take longer than everything else here
if TYPE_CHECKING:
    from replicate_job.calls import BatchOptions, ClientOptions, OneShotBatchOptions, OneShotOptions, RunOptions
    from replicate_job.chain import Chain, Ref, Step
    from replicate_job.client import AsyncBatchHandle, AsyncClient, AsyncJobHandle, BatchHandle, Client, JobHandle
    from replicate_job.errors import ReplicateJobError
    from replicate_job.job import Fallback, Job, Result
    from replicate_job.jobfile import load_chain, load_job
    from replicate_job.oneshot import arun, astream, batch, replicate_run_prediction, run, stream
    from replicate_job.progress import OnProgress, Progress
    from replicate_job.text_stream import AsyncTextStream, TextStream
    from replicate_job.wire.holdings import DeploymentInfo, ModelInfo, TrainingInfo
    from replicate_job.wire.webhook import verify_webhook


__all__ = [
    "AsyncBatchHandle",
    "AsyncClient",
    "AsyncJobHandle",
    "AsyncTextStream",
    "BatchHandle",
    "BatchOptions",
    "Chain",
    "Client",
    "ClientOptions",
    "DeploymentInfo",
    "Fallback",
    "Job",
    "JobHandle",
    "ModelInfo",
    "OnProgress",
    "OneShotBatchOptions",
    "OneShotOptions",
    "Progress",
    "Ref",
    "ReplicateJobError",
    "Result",
    "RunOptions",
    "Step",
    "TextStream",
    "TrainingInfo",
    "__version__",
    "arun",
    "astream",
    "batch",
    "load_chain",
    "load_job",
    "replicate_run_prediction",
    "run",
    "stream",
    "verify_webhook",
]

_HOMES = {
    "Fallback": "job",
    "Job": "job",
    "Result": "job",
    "ReplicateJobError": "errors",
    "errors": "errors",
    **dict.fromkeys(["load_chain", "load_job"], "jobfile"),
    **dict.fromkeys(["Chain", "Ref", "Step"], "chain"),
    **dict.fromkeys(["AsyncBatchHandle", "AsyncClient", "AsyncJobHandle"], "client"),
    **dict.fromkeys(["BatchHandle", "Client", "JobHandle"], "client"),
    **dict.fromkeys(["BatchOptions", "ClientOptions", "OneShotBatchOptions", "OneShotOptions", "RunOptions"], "calls"),
    **dict.fromkeys(["AsyncTextStream", "TextStream"], "text_stream"),
    **dict.fromkeys(["OnProgress", "Progress"], "progress"),
    **dict.fromkeys(["arun", "astream", "batch", "replicate_run_prediction", "run", "stream"], "oneshot"),
    **dict.fromkeys(["DeploymentInfo", "ModelInfo", "TrainingInfo"], "wire.holdings"),
    "verify_webhook": "wire.webhook",
}


def __getattr__(name: str) -> object:
    # A name is imported at its first use, because the command line needs only few of them.
    if name not in _HOMES:
        raise AttributeError(f"module 'replicate_job' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - few programs need it

    module = import_module(f"replicate_job.{_HOMES[name]}")
    value = globals()[name] = module if name == "errors" else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "errors"]
