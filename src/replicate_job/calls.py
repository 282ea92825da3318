"""Reads the arguments and options of a call from Python into a job and an ``Ask``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, cast

import msgspec

from replicate_job.arguments import DEFAULTS, check_input, read_arguments
from replicate_job.clock import SystemClock
from replicate_job.errors import JobError
from replicate_job.flow.job_run import Ask, new_key
from replicate_job.inputs.held import take
from replicate_job.inputs.plain import native
from replicate_job.job import Fallback, Job
from replicate_job.outputs.place import read_save
from replicate_job.progress import OnProgress
from replicate_job.scalars import own, own_items
from replicate_job.settings import Settings, check_environment

if TYPE_CHECKING:
    from replicate_job.chain import Chain, Step
    from replicate_job.flow.plan import Plan

_F = TypeVar("_F", bound=Callable[..., Any])
_O = TypeVar("_O", bound=Mapping[str, Any])
_INPUTS = ("input", "input_data")  # the fields with a model's input, in a step and in a job


class ClientOptions(TypedDict, total=False):
    """A client's options, which replace the environment's settings: see ``AsyncClient``."""

    token: str | None
    base_url: str | None
    headers: Mapping[str, str] | None
    journal: str | Path | None
    rate: str
    local: bool
    allow_private_outputs: bool


class CallOptions(TypedDict, total=False):
    key: str | None
    save_to: str | Path | None
    on_progress: OnProgress | None
    cancel_after: str | None
    webhook: str | None
    webhook_events_filter: Sequence[Literal["start", "output", "logs", "completed"]] | None
    allow_unknown: bool | None


class _PlanOptions(TypedDict, total=False):
    retries: int
    retry_on: str | Iterable[str] | None
    fallback: str | Fallback | Iterable[str | Fallback] | None
    reuse: timedelta | None


class RunOptions(CallOptions, _PlanOptions, total=False):
    """The options of ``run``, ``submit`` and ``stream`` besides the job and its input.

    ``retries`` is 0 and ``retry_failed`` is False by default, all others are None.

    ``key`` identifies the job in the journal: the same key never creates a second prediction. ``save_to`` replaces the
    client's ``save_to``. It is the folder in which the folder ``<prediction_id>/`` gets the output files; a ``str`` may
    also be a bucket (``s3://bucket/outputs``), or a template (``out/{model}/{date}/{key}-{name}``). Without ``save_to``
    nothing is saved, except that the files of local runs go to the user's state folder.

    ``on_progress`` is called with a ``Progress`` each time the prediction is observed.

    ``timeout`` is how many seconds the call may take, uploads and all waiting included. Then JobTimeoutError is raised
    and the prediction runs on. A call with the same ``key`` continues the job. ``timeout`` replaces the job's
    ``max_poll_attempts``.

    ``retries`` (default 0) is how many more attempts each model gets after a failure in ``retry_on``. ``retry_on`` is
    any of ``failed``, ``interrupted`` and ``empty``; by default all three. ``fallback`` are models, by name or as a
    ``Fallback``, that get the job after all attempts of its own model have failed. ``reuse`` returns an earlier success
    of the same version and input, unless it is older than this timedelta. ``retries``, ``retry_on``, ``fallback`` and
    ``reuse`` are for ``run`` and ``batch`` only.

    ``retry_failed`` is for a ``Chain`` with a key: a step whose prediction failed gets a new one. The other options
    replace the job's own, and are described with ``Job``.
    """

    wait_for_completion: bool | None
    poll_interval: float | None
    max_poll_attempts: int | None
    timeout: float | None
    retry_failed: bool


class OneShotOptions(RunOptions, ClientOptions, total=False):
    """The options of ``run``, ``arun``, ``stream`` and ``astream``: the options of a client and of a call."""


class BatchOptions(CallOptions, _PlanOptions, total=False):
    """The options of ``batch`` besides the job and its rows.

    ``key`` names the batch: the same key continues where an earlier call stopped. Without it, the rows of a file
    continue that file's batch, and other rows start a new batch. ``id`` is the column that names a row, so that rows
    may come in another order. ``rename`` maps a column to its input. ``ignore_columns`` are left out; ``"*"`` leaves
    out all columns that are no inputs of the model. ``set`` maps an input to a template of columns
    (``{"prompt": "{subject}, {style}"}``). ``grid`` maps a name to its values: every row runs with every combination of
    the values. Every row also runs with each of ``models``, besides the job's own model. ``format``, ``delimiter``,
    ``encoding``, ``header`` (False, or the names) and ``quotes`` describe a file if the program does not recognise
    them; see ``replicate-job batch --help``. ``save_to`` is as with ``run``, and its template may name ``{line}`` and
    ``{batch}``. ``concurrency`` is the most predictions that run at the same time. ``limit`` is the most rows.
    ``retry_failed``, ``retry_uncertain`` (may pay twice), ``fail_fast``, ``max_predict_time`` (seconds), ``max_cost``
    (USD) and ``price`` (``"0.003/image"``, ``"gpu-l40s"``, or a dict of models and their prices): see
    ``replicate-job batch --help``. ``dedupe``: rows with the same input share one prediction. The other options are
    those of ``RunOptions``.
    """

    id: str | None
    rename: Mapping[str, str]
    ignore_columns: Iterable[str]
    set: Mapping[str, str]
    grid: Mapping[str, Iterable[Any]]
    models: Iterable[str]
    format: str | None
    delimiter: str | None
    encoding: str | None
    header: bool | Iterable[str]
    quotes: bool
    concurrency: int | None
    limit: int | None
    retry_failed: bool
    retry_uncertain: bool
    fail_fast: bool
    max_predict_time: float | None
    max_cost: float | Decimal | None
    price: str | Mapping[str, str] | None
    dedupe: bool


class OneShotBatchOptions(BatchOptions, ClientOptions, total=False):
    """The options of the function ``batch``: the options of a client and of a batch."""


def with_options(options: type) -> Callable[[_F], _F]:
    """Spell the options out in the function's signature, for ``help`` and completion, with their defaults."""

    def spell(function: _F) -> _F:
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        named = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=DEFAULTS.get(name),
                annotation=getattr(kind, "__forward_arg__", kind),
            )
            for name, kind in options.__annotations__.items()
        ]
        function.__signature__ = signature.replace(parameters=[*own, *named])  # type: ignore[attr-defined] # inspect's
        return function

    return spell


def read_options(options: _O, known: type[_O]) -> _O:
    """The options, with Python's own values in place of numpy's and of subclasses.

    Raises TypeError for an unknown option, and JobError for an option with a wrong value.
    """
    if unknown := options.keys() - known.__annotations__.keys():
        raise TypeError(f"there is no option {min(unknown)!r}; there are {', '.join(known.__annotations__)}")
    return cast("_O", read_arguments(options))


def read_ask(
    job: Job | str,
    input: Mapping[str, Any] | None,
    options: RunOptions,
    *,
    settings: Settings,
    folder: str | Path | None,
) -> Ask:
    """Read a call's job, and how to run it. ``folder`` is the client's place for outputs. Raises JobError.

    ``options`` are those that ``read_options`` returned. The files in the input are read here, and may be closed
    afterwards.
    """
    check_input({} if input is None else input)
    job = read_job(job, options, settings, "run(load_job({!r}))")
    if options.get("retry_failed"):
        raise JobError("retry_failed is for a chain: a job that failed runs again with another key")
    return _ask(job, input, options, folder)


def read_chain_ask(
    chain: Chain, input: Mapping[str, Any] | None, options: RunOptions, *, folder: str | Path | None
) -> Ask:
    """Read the call of a chain: see ``read_ask``, ``run_chain``. Raises JobError."""
    from replicate_job.batches.chains.plan import chain_job, check_chain  # noqa: PLC0415 - for chains only

    check_input({} if input is None else input)
    check_chain_options(options)
    check_chain(chain)
    return _ask(chain_job(chain), input, options, folder, kind="chain")


def _ask(
    job: Job, input: Mapping[str, Any] | None, options: RunOptions, folder: str | Path | None, kind: str = "job"
) -> Ask:
    """The job with the call's input, and how to run it. ``kind`` is the beginning of a generated key."""
    key = options.get("key")
    return Ask(
        msgspec.structs.replace(job, input_data=take({**job.input_data, **(input or {})}, job.model)),
        new_key(kind) if key is None else key,
        read_place(options.get("save_to"), folder),
        timeout=options.get("timeout"),
        called=SystemClock().now(),
        is_new=key is None,
    )


def check_chain_options(options: CallOptions) -> None:
    if policies := [name for name in ("retries", "retry_on", "fallback", "reuse", "dedupe") if options.get(name)]:
        raise JobError(f"{policies[0]} is for jobs: a chain takes none, and retry_failed makes its failed steps anew")
    own = [name for name, value in options.items() if name in Job.__struct_fields__ and value is not None]
    if own:
        raise JobError(f"{own[0]} is an option for a job: a chain has none, and its steps say cancel_after themselves")


def as_chain(job: object) -> Chain | None:
    """Return the chain, with Python's own values, or None for a job or a model's name."""
    if isinstance(job, Job | str):  # most calls have no chain, and need not import it
        return None
    from replicate_job.chain import Chain  # noqa: PLC0415 - see above

    return _own_chain(job) if isinstance(job, Chain) else None


def _own_chain(chain: Chain) -> Chain:
    steps = [msgspec.structs.replace(step, **_own_fields(step), input=native(step.input)) for step in chain.steps]
    return msgspec.structs.replace(chain, steps=steps, title=own(chain.title))


def read_job(job: Job | str, options: CallOptions, settings: Settings, correct_call: str) -> Job:
    """The job, with options in place of its own values. ``correct_call`` shows how to pass a job file, for an error."""
    if not isinstance(job, Job | str):
        hint = correct_call.format(str(job)) if isinstance(job, PathLike) else "give a model's name or a Job"
        hint = "run it, for it is neither submitted nor streamed" if as_chain(job) else hint
        raise JobError(f"job is a {type(job).__name__}: {hint}")
    if isinstance(job, str):
        job = cast("str", own(job))
        if job.endswith((".xs", ".toml", ".json")):
            raise JobError(f"{job} is a job file: {correct_call.format(job)}")
        job, fields = Job(job), dict[str, Any]()
    else:
        check_input(job.input_data, "the job's input_data")
        fields = _own_fields(job)
        if isinstance(job.fallback, list | tuple):  # a Job does not check its fields
            fields["fallback"] = tuple(map(_own_fallback, job.fallback))
    named = Job.__struct_fields__
    fields |= {name: value for name, value in options.items() if name in named and value is not None}
    if (fallback := options.get("fallback")) is not None:
        fields["fallback"] = read_fallback(fallback)
    job = msgspec.structs.replace(job, **fields)
    check_environment(job.env, settings)
    return job


def read_fallback(given: Any) -> tuple[Fallback, ...]:
    """Read one fallback model or several, each a name or a ``Fallback``."""
    several = [given] if isinstance(given, str | Fallback) else given
    return tuple(Fallback(own(each)) if isinstance(each, str) else _own_fallback(each) for each in several)


def _own_fields(job: Job | Step) -> dict[str, Any]:
    """The fields, all but the input, with Python's own values in place of numpy's and of subclasses."""
    return {name: own_items(getattr(job, name)) for name in job.__struct_fields__ if name not in _INPUTS}


def _own_fallback(fallback: Any) -> Any:
    if not isinstance(fallback, Fallback):  # ``check_job`` reports it
        return fallback
    return Fallback(own(fallback.model), own_items(fallback.inputs), native(fallback.input_data))


def read_plan(job: Job, options: RunOptions | BatchOptions) -> Plan | None:
    """The plan for further attempts or for reuse. None for a call without such options. Raises JobError."""
    retries, reuse = options.get("retries", 0), options.get("reuse")
    if options.get("retry_on") is not None and not retries:
        raise JobError("retry_on needs retries: how many more attempts there are")
    if not (retries or reuse is not None or job.fallback):
        return None
    from replicate_job.flow.plan import make_plan  # noqa: PLC0415 - only few calls have a plan

    seconds = None if reuse is None else reuse.total_seconds()
    return make_plan(job, retries=retries, retry_on=options.get("retry_on"), reuse=seconds)


def refuse_plan(job: Job, options: RunOptions, function: str) -> None:
    """Raise JobError if a call that shows one prediction has options for several attempts or for reuse."""
    if read_plan(job, options):
        raise JobError(f"retries, fallback and reuse are for run and batch: {function} is about one prediction")


def read_place(*places: str | Path | None, rows: bool = False) -> str | None:
    """The first of these places that is not None, as the journal records it. ``rows``: for a batch. Raises JobError."""
    place = next((each for each in places if each is not None), None)
    return read_save(place, rows=rows) if place else None
