"""``replicate-job batch``: run a model or a chain for every row of a file."""

from __future__ import annotations

import asyncio
import gc
import shlex
import sys
import uuid
from collections.abc import Collection, Coroutine, Iterable, Mapping
from contextlib import aclosing, nullcontext
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
import msgspec

from replicate_job.aio import new_loop
from replicate_job.api.ratelimit import parse_rate
from replicate_job.batches.budget import LIMITED
from replicate_job.batches.open_runner import open_runner
from replicate_job.batches.prices import read_said
from replicate_job.batches.progress import Tally
from replicate_job.batches.report import check_report, write_report
from replicate_job.batches.results.cause import error_of
from replicate_job.batches.results.file import STDOUT, ResultsFile
from replicate_job.batches.results.record import read_records, to_record
from replicate_job.batches.results.summary import Summary
from replicate_job.batches.row_job import ReadRow
from replicate_job.batches.rows import FORMATS, ColumnOptions, ReadOptions, RowReader, Rows, open_rows, parse_columns
from replicate_job.batches.rows.columns import check_given
from replicate_job.batches.runner import BatchRunner
from replicate_job.batches.spec import CONCURRENCY, LOCAL_CONCURRENCY, NOT_OF_FLEETS, Batch, OtherModel, batch_id
from replicate_job.cli.attempts import attempts, take_plan
from replicate_job.cli.completion import files, targets
from replicate_job.cli.exits import CANCELED, FAILED, SUCCEEDED, UNFINISHED, UNREACHABLE
from replicate_job.cli.given import check_pairs, read_target, refuse_overrides
from replicate_job.cli.help import examples
from replicate_job.cli.log import LOG
from replicate_job.cli.options import (
    Common,
    Dollars,
    Duration,
    common,
    fetching,
    health_port,
    healthy,
    local,
    place,
    saving,
)
from replicate_job.cli.output import known, print_json
from replicate_job.cli.reporters import open_progress
from replicate_job.cli.status import NO_WORKER
from replicate_job.cli.streams import aside, is_shown, tell, width, write
from replicate_job.database import hide_password
from replicate_job.decoding import convert
from replicate_job.errors import JobError, ReplicateJobError
from replicate_job.flow.context import Context
from replicate_job.flow.prepare import check_job
from replicate_job.flow.resolve import resolve
from replicate_job.flow.resolved import Resolved
from replicate_job.flow.subject import about
from replicate_job.folders import absolute, working_folder
from replicate_job.inputs.at_path import AtPaths, Reading, Readings
from replicate_job.inputs.pairs import parse_pairs
from replicate_job.job import Job, Result
from replicate_job.open_files import allow_files
from replicate_job.quantity import MOST, count
from replicate_job.settings import check_environment
from replicate_job.wire.target import parse_target

if TYPE_CHECKING:
    from replicate_job.batches.chains.plan import ChainPlan
    from replicate_job.batches.report.sheet import Sheet
    from replicate_job.batches.rows.grid import Grid
    from replicate_job.chain import Chain
    from replicate_job.flow.plan import Plan
    from replicate_job.journal.postgres_fleet import FleetTables
    from replicate_job.template import Template

REPORT = "report.html"
GRID = "grid"
"""This name takes the place of the file's name for a batch that has a grid but no file of rows."""
GARBAGE = 50_000
"""The threshold of the garbage collector, which searches for cycles once this many new objects exist."""
_LEFT = {
    "running": "left running",
    "ended": "unfinished, which ended with the local server",
    "unknown": "that may have been created",
}


class _Options(msgspec.Struct, frozen=True):
    """The options of ``batch`` that are not fields of the job."""

    inputs: str | None
    results: str
    save: str | None
    concurrency: int | None
    rate: float | None
    limit: int | None
    retry_failed: bool
    retry_uncertain: bool
    fail_fast: bool
    max_predict_time: int | None
    max_cost: Decimal | None
    price: tuple[str, ...]
    id_column: str | None
    dry_run: bool
    cancel_on_interrupt: bool
    report: str | None
    no_report: bool
    templates: tuple[str, ...]
    grid: tuple[str, ...]
    models: tuple[str, ...]
    rename: tuple[str, ...]
    ignore_columns: tuple[str, ...]
    format: str | None
    delimiter: str | None
    encoding: str | None
    header: str | None
    no_header: bool
    no_quotes: bool
    health_port: Any  # an Address or None; its module is imported only with --health-port
    fleet: bool
    detach: bool
    dedupe: bool

    @property
    def reading(self) -> ReadOptions:
        header = _columns(self.header) if self.header else not self.no_header
        return ReadOptions(self.format, self.delimiter, self.encoding, header, quotes=not self.no_quotes)

    @property
    def is_parquet(self) -> bool:
        return Path(self.results).suffix in {".parquet", ".pq"}

    @property
    def lines(self) -> Path:
        """The file that results are appended to while the batch runs.

        It contains JSON Lines even if ``--results`` names a Parquet file, which cannot be appended to.
        """
        results = Path(self.results)
        return results.with_name(f".{results.name}.jsonl") if self.is_parquet else results

    def rows(self) -> Rows:
        if self.inputs is not None:
            return open_rows(self.inputs, self.reading)
        from replicate_job.batches.rows.grid import OneRow  # noqa: PLC0415 - only a grid without a file needs it

        return OneRow()

    def combinations(self, model: str) -> Grid | None:
        if not (self.grid or self.models):
            return None
        from replicate_job.batches.rows.grid import parse_grid  # noqa: PLC0415 - few batches have a grid

        return parse_grid(self.grid, self.models, model)

    def columns(self, constants: Iterable[str], grid: Grid | None) -> ColumnOptions:
        templates: Mapping[str, Template] = {}
        if self.templates:
            from replicate_job.batches.rows.filling import parse_templates  # noqa: PLC0415 - few batches use --set

            templates = parse_templates(self.templates)
        options = msgspec.structs.replace(
            parse_columns(self.rename, self.ignore_columns),
            id=self.id_column,
            constants=frozenset(constants),
            templates=templates,
            grid=frozenset(grid.dimensions if grid else ()),
        )
        check_given(options)
        return options


class _Report(msgspec.Struct, frozen=True):
    path: Path
    title: str
    batch: str


class _Rate(click.ParamType[float | None]):
    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return parse_rate(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(
    "batch",
    epilog=examples(
        "replicate-job batch black-forest-labs/flux-schnell prompts.csv --results results.jsonl",
        "replicate-job batch owner/name questions.csv --rename question=prompt,*= --results results.jsonl --dry-run",
        "replicate-job batch run.xs rows.jsonl --results results.jsonl --dry-run",
        "replicate-job batch owner/name rows.parquet --fleet --save s3://bucket/{batch}/{line}-{name}",
        "replicate-job batch black-forest-labs/flux-schnell prompt='a fox' --grid seed=1..8 --results results.jsonl",
        "cat rows.jsonl | replicate-job batch run.xs - --results - --no-save",
    ),
)
@click.argument("target", shell_complete=targets)
@click.argument("inputs", required=False, shell_complete=files)
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--results",
    metavar="FILE",
    shell_complete=files,
    help="Where results go, as JSON Lines, or in the end as Parquet (.parquet); - for stdout. Not with --fleet.",
)
@click.option("--fleet", is_flag=True, help="Submit the rows to the workers of a journal in PostgreSQL.")
@click.option("--detach", is_flag=True, help="With --fleet: do not wait for the end.")
@click.option(
    "--concurrency", type=click.IntRange(1, MOST), metavar="N", help="Predictions under way together; default 1000."
)
@click.option(
    "--rate",
    type=_Rate(),
    default="600/min",
    metavar="RATE",
    help="The most create requests: 600/min (default), or none.",
)
@click.option("--limit", type=click.IntRange(1, MOST), metavar="N", help="Run the first N rows only.")
@attempts
@click.option("--dedupe", is_flag=True, help="Rows with the same input share one prediction.")
@click.option("--retry-failed", is_flag=True, help="Make a new prediction for each row whose last one failed.")
@click.option(
    "--retry-uncertain",
    is_flag=True,
    help="Make a new prediction for each uncertain row, which may have one already: that may pay twice.",
)
@click.option("--fail-fast", is_flag=True, help="Create nothing more once a row has failed.")
@click.option(
    "--max-predict-time", type=Duration(), metavar="TIME", help="Stop creating after this much predict time: 30m, 2h."
)
@click.option(
    "--max-cost",
    type=Dollars(),
    metavar="USD",
    help="The most that the batch may cost: 50, 0.25. Ended and running predictions count.",
)
@click.option(
    "--price",
    multiple=True,
    metavar="[NAME=]PRICE",
    help="The price of the model, or of NAME among several models or steps: 0.003/image, 3/1M output tokens, gpu-l40s.",
)
@saving("outputs", "DIR/<thousand>/<prediction id>/")
@click.option(
    "--id", "id_column", metavar="COLUMN", help="The column that identifies a row, so that rows may move in the file."
)
@click.option(
    "--set",
    "templates",
    multiple=True,
    metavar="INPUT=TEMPLATE",
    help="Make an input from columns: prompt='{subject}, {style}'.",
)
@click.option(
    "--grid",
    multiple=True,
    metavar="NAME=A,B",
    help="Run each row with each value: seed=1..4; several grids are combined.",
)
@click.option("--models", multiple=True, metavar="A,B", help="Run every row also with these models.")
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="Use the column OLD as the input NEW: a=b,c=d.")
@click.option(
    "--ignore-columns",
    multiple=True,
    metavar="A,B",
    help="Leave out these columns; * is every column that is not an input of the model.",
)
@click.option("--format", metavar="FORMAT", help=f"The format of INPUTS, whatever its suffix: {', '.join(FORMATS)}.")
@click.option("--delimiter", metavar="CHAR", help="The character between cells; by default it is detected.")
@click.option("--encoding", metavar="NAME", help="The encoding of INPUTS: cp1252, latin-1; default UTF-8.")
@click.option("--no-header", is_flag=True, help="INPUTS has no header line: columns are named 1, 2, 3.")
@click.option("--header", metavar="A,B", help="Column names for INPUTS without a header line: ,,A names the third.")
@click.option("--no-quotes", is_flag=True, help="Read quotes as text, as most tab-separated files have them.")
@click.option("--cancel-after", metavar="TIME", help="Cancel a prediction that takes longer: 30s, 5m, 1h30m.")
@click.option("--allow-unknown", is_flag=True, default=None, help="Send inputs that the model's schema lacks.")
@click.option("--dry-run", is_flag=True, help="Check all rows and create nothing.")
@click.option("--cancel-on-interrupt", is_flag=True, help="Ctrl-C cancels running predictions instead of leaving them.")
@click.option(
    "--report",
    metavar="FILE",
    shell_complete=files,
    help="The report; default report.html beside the results, or RESULTS.html if that is another file.",
)
@click.option("--no-report", is_flag=True, help="Write no report.")
@health_port
@fetching
@local
@partial(common, loop=new_loop)
def command(
    shared: Common, target: str, inputs: str | None, pairs: tuple[str, ...], **given: Any
) -> Coroutine[Any, Any, int]:
    """Run TARGET (a job file or a model, as in run) for every row of INPUTS: .jsonl, .json, .csv, .tsv, .txt, .parquet,
    .arrow, .gz of each, or - for stdin, by default JSON Lines.

    A row is an input, merged over the job's; KEY=VALUE is the same for all rows. With --grid or --models, INPUTS may be
    left out. The same command again continues with the unfinished rows, and pays for no row twice.
    """  # noqa: D205 - the first paragraph is the help's
    overrides = {name: value for name in Job.__struct_fields__ if (value := given.get(name)) is not None}
    found = read_target(target)
    chain = None if isinstance(found, Job) else found
    if isinstance(found, Job):
        job = msgspec.structs.replace(found, **overrides)
        check_job(job)
    else:
        job = _read_chain(found, overrides)
    check_environment(job.env, shared.settings)
    given["inputs"], pairs = _inputs(inputs, pairs, has_grid=bool(given["grid"] or given["models"]))
    check_pairs(pairs, model=job.model)
    if given["inputs"] is None and given["id_column"]:
        raise click.UsageError("--id names a column of INPUTS, which is missing")
    if given["no_header"] and given["header"]:
        raise click.UsageError("--header names the columns, and --no-header leaves them without names: give only one")
    _check_fleet(given, is_local=shared.local)
    kept_in = place(given.pop("save"), no_save=given.pop("no_save"), rows=True)
    if given["dedupe"] and given["id_column"]:
        raise click.UsageError("--dedupe identifies rows by their inputs, and --id by a column: give only one")
    job, plan = take_plan(msgspec.structs.replace(job, wait_for_completion=True), given)
    options = convert(given | {"save": kept_in}, _Options, strict=False)
    if chain and (plan or options.dedupe):
        raise click.UsageError(
            "--retries, --fallback, --reuse and --dedupe are for jobs, not for chains; --retry-failed makes new "
            "predictions for failed steps"
        )
    if not options.fleet:
        shared.terminated.farewell = "stopping, once it is known which predictions run; Ctrl-C ends at once"
    return _Command(shared, job, pairs, options, plan=plan, chain=chain).run()


def _read_chain(chain: Chain, overrides: dict[str, Any]) -> Job:
    """Make a job that represents the chain."""
    from replicate_job.batches.chains.plan import chain_job, check_chain  # noqa: PLC0415 - for chains only

    refuse_overrides(overrides)
    check_chain(chain)
    return chain_job(chain)


def _check_fleet(given: dict[str, Any], *, is_local: bool) -> None:
    """Raise UsageError for options that do not go together."""
    if not given["fleet"]:
        if given["detach"]:
            raise click.UsageError("--detach is for batches that --fleet submits")
        if given["results"] is None:
            raise click.UsageError("Missing option '--results'.")
        return
    alone = ["local", "results", *NOT_OF_FLEETS, "cancel_on_interrupt", "report", "no_report"]
    if named := [name for name in alone if (is_local if name == "local" else given[name])]:
        why = {
            "local": ", whose workers are other processes: for models of this machine start `replicate-job serve`, and"
            " have all of them use its REPLICATE_BASE_URL",
            "results": ": `replicate-job results BATCH` writes them",
            "concurrency": ": each worker has its own",
        }
        option = f"--{named[0].replace('_', '-')}"
        raise click.UsageError(f"{option} is not for --fleet{why.get(named[0], '')}")
    given["results"] = STDOUT


def _inputs(inputs: str | None, pairs: tuple[str, ...], *, has_grid: bool) -> tuple[str | None, tuple[str, ...]]:
    """Return the file of rows and the KEY=VALUE words.

    A grid needs no file of rows. Without a file, ``inputs`` may be the first KEY=VALUE, and None is returned for the
    file. Raises UsageError if there is neither a file nor a grid.
    """
    if has_grid and inputs and "=" in inputs and not Path(inputs).exists():
        return None, (inputs, *pairs)
    if inputs is None and not has_grid:
        raise click.UsageError("Missing argument 'INPUTS': a file of rows, - for stdin; or none with --grid NAME=A,B")
    return inputs, pairs


def _parquet() -> ModuleType:
    """Import the module that writes Parquet. Raises JobError if pyarrow is not installed."""
    from replicate_job.batches.results import parquet  # noqa: PLC0415 - importing pyarrow takes longer than a small batch

    return parquet


def check_owner(results: Path, batch: str) -> None:
    """Raise JobError if the file contains the results of another batch, because they would be overwritten."""
    if not results.is_file():
        return
    key = next((result.key for result in read_records(results) if result.key), "")
    if key and not key.startswith((f"{batch}/", f"{batch}~")):
        raise JobError(
            f"{results} holds the results of another batch (of another model, input or file of rows): name another file"
        )


def _columns(header: str) -> tuple[str, ...]:
    import csv  # noqa: PLC0415 - few commands give a header

    return tuple(next(csv.reader([header])))


def _open_tables(context: Context) -> FleetTables:
    from replicate_job.fleet.parts import open_tables  # noqa: PLC0415 - an optional extra

    return open_tables(context)


def _with_larger(rest: str, option: str) -> str:
    return f"{rest}: the same command with a larger {option} goes on with them"


class _Command:
    """One call of the command."""

    def __init__(  # noqa: PLR0913 - the parts of the command line
        self,
        shared: Common,
        job: Job,
        pairs: tuple[str, ...],
        options: _Options,
        *,
        plan: Plan | None,
        chain: Chain | None,
    ) -> None:
        self._shared, self._job, self._pairs, self._options, self._plan = shared, job, pairs, options, plan
        self._chain = chain
        self._target = job  # the job before the KEY=VALUE words are added to its input
        self._rows = options.rows()
        self._grid = options.combinations(job.model)
        self._columns = options.columns((pair.partition("=")[0] for pair in pairs), self._grid)
        self._tally, self._summary, self._readings = Tally(), Summary(), Readings()
        self._progress = open_progress(self._tally, verbose=shared.verbose, quiet=shared.quiet)
        self._drive: BatchRunner | None = None
        self._report: _Report | None = None
        self._secrets: Collection[str] = ()

    async def run(self) -> int:
        # Rows leave no reference cycles. With the default threshold, searching for cycles takes a tenth of the time.
        gc.set_threshold(GARBAGE)
        gc.freeze()  # objects that exist now (mostly modules) live to the end, so they need no search
        allow_files()  # each create request may hold a connection
        code = None
        if self._options.is_parquet:
            _parquet()  # if pyarrow is missing, the error comes before anything is paid for
        try:
            code = await self._run()
        finally:
            self._tell_end(is_whole=code is not None)
            if code is None:
                self._write_parquet(is_whole=False)
        self._write_report()
        self._write_parquet(is_whole=True)
        return code

    def _write_parquet(self, *, is_whole: bool) -> None:
        """Write Parquet if ``--results`` asks for it. ``is_whole`` is False if an error ended the batch."""
        options, runner = self._options, self._drive
        if not options.is_parquet or runner is None or not options.lines.is_file():
            return
        try:
            _parquet().write_parquet(options.lines, Path(options.results), runner.batch)
            options.lines.unlink(missing_ok=True)
        except ReplicateJobError as error:
            if is_whole:
                raise
            tell(str(error))

    async def _run(self) -> int:
        shared, options = self._shared, self._options
        rows = self._rows.count(options.limit)
        if rows == 0:  # probably a failed export: its empty results would replace the earlier results
            raise JobError(f"{options.inputs} has no rows: nothing was done")
        self._tally.total = rows if rows is None or self._grid is None else rows * len(self._grid)
        model = self._chain.steps[0].model if self._chain else self._job.model
        async with (
            shared.session(self._progress, model="" if options.dry_run else model, rate=options.rate) as context,
            healthy(options.health_port, context),
        ):
            tables = _open_tables(context) if options.fleet else None
            plan = await self._plan_chain(context)
            resolved = plan.resolved if plan else await resolve(context, parse_target(model))
            self._secrets = resolved.secrets
            self._job = self._with_constants(context, self._job, resolved)
            batch = msgspec.structs.replace(self._batch(context), others=await self._others(context))
            LOG.concern(batch)
            runner = open_runner(context, batch, plan or resolved, self._tally)
            if options.dry_run:
                return await self._check(runner)
            if tables:
                return await self._submit(context, tables, batch, plan or resolved)
            if options.is_parquet:
                _parquet().check_parquet(Path(options.results), batch.id)
            with ResultsFile(options.lines) as file:
                check_owner(options.lines, batch.id)
                self._report = self._place_report(batch.id)
                self._drive = runner
                await self._replay(context, batch, file)
                async with aclosing(runner.run(self._rows)) as results:
                    async for some in results:
                        self._write(file, some)
        return self._exit_code(runner)

    async def _submit(self, context: Context, tables: FleetTables, batch: Batch, model: Resolved | ChainPlan) -> int:
        """Submit the rows to a fleet, and follow them."""
        from replicate_job.fleet.parts import find_batch, join  # noqa: PLC0415 - an optional extra
        from replicate_job.fleet.submit import submit  # noqa: PLC0415 - an optional extra

        await join(context, tables)
        await submit(context, tables, batch, model, self._rows, rate=self._options.rate)
        write(f"{batch.id}\n")
        if not (self._shared.quiet or await tables.workers(context.api)):
            tell(NO_WORKER)
        if self._options.detach:
            return SUCCEEDED
        from replicate_job.fleet.follow import follow  # noqa: PLC0415 - an optional extra
        from replicate_job.journal import postgres  # noqa: PLC0415 - as above

        told = self._shared.line("status", batch.id)
        try:
            stopped = await follow(context, tables, await find_batch(tables, batch.id, context.api), self._tally)
        except asyncio.CancelledError:
            tell(f"the batch goes on: {told} shows its progress")
            raise
        if stopped:
            tell(f"stopped: {stopped}")
            if LIMITED in stopped:
                if (left := (self._tally.total or 0) - self._tally.over) and not self._shared.quiet:
                    tell(_with_larger(f"{left:,} still to run", "--max-cost"))
                return UNFINISHED
            return CANCELED if stopped == postgres.CANCELED else UNREACHABLE
        if not self._shared.quiet:
            tally = self._tally
            ends = f"{tally.succeeded:,} succeeded, {tally.failed:,} failed, {tally.wrong:,} wrong"
            tell(f"{count(tally.over, 'row')}: {ends}; {self._shared.line('results', batch.id)} writes them")
        return FAILED if self._tally.failed or self._tally.wrong else SUCCEEDED

    def _with_constants(self, context: Context, job: Job, resolved: Resolved) -> Job:
        if not self._pairs:
            return job
        constants = parse_pairs(self._pairs, resolved.schema)
        read = AtPaths(resolved.schema, observe=partial(self._observe, context)).read(constants)
        return msgspec.structs.replace(job, input_data=job.input_data | read)

    async def _others(self, context: Context) -> dict[str, OtherModel]:
        others: dict[str, OtherModel] = {}
        for model in self._grid.models if self._grid else ():
            resolved = await resolve(context, parse_target(model))
            job = self._with_constants(context, msgspec.structs.replace(self._target, model=model), resolved)
            self._secrets = {*self._secrets, *resolved.secrets}
            others[model] = OtherModel(job, self._reader(context, job), resolved)
        return others

    def _reader(self, context: Context, job: Job) -> ReadRow:
        rows = self._rows
        read = partial(RowReader, job=job, options=self._columns, header=rows.header(), typed=rows.typed)
        return partial(read, within=self._text_folders(), observe=partial(self._observe, context))

    async def _plan_chain(self, context: Context) -> ChainPlan | None:
        if self._chain is None:
            return None
        from replicate_job.batches.chains.plan import plan_chain  # noqa: PLC0415 - for chains only

        return await plan_chain(context, self._chain)

    def _again(self) -> str:
        """The command line of this call, quoted for a shell. Secret inputs and the journal's password are replaced."""
        names = {pair: pair.partition("=")[0] for pair in self._pairs}
        words = [f"{names[word]}=SECRET" if names.get(word) in self._secrets else word for word in sys.argv[1:]]
        if journal := self._shared.journal:
            words = [word.replace(journal, hide_password(journal)) for word in words]
        return shlex.join(["replicate-job", *words])

    def _batch(self, context: Context) -> Batch:
        options, columns = self._options, self._columns
        # Rows from a pipe have no file name, so the name of the results file is used. A grid without a file is named
        # GRID.
        source = options.results if options.inputs == STDOUT else options.inputs
        # The job of a chain contains the KEY=VALUE words, but not the steps. The chain's identity takes the place of
        # the model, so that the batch's id depends on the steps.
        job = Job(self._chain.identity, self._job.input_data) if self._chain else self._job
        file = Path(GRID) if source is None else absolute(Path(source)).resolve()
        named = batch_id(context.api, job, file, columns.identity)
        return Batch(
            id=f"batch-{uuid.uuid4().hex[:16]}" if source == STDOUT else named,
            job=self._job,
            read=self._reader(context, self._job),
            grid=self._grid,
            save=options.save,
            concurrency=options.concurrency or (LOCAL_CONCURRENCY if context.ephemeral else CONCURRENCY),
            id_column=options.id_column,
            limit=options.limit,
            retry_failed=options.retry_failed,
            retry_uncertain=options.retry_uncertain,
            fail_fast=options.fail_fast,
            max_predict_time=options.max_predict_time,
            max_cost=options.max_cost,
            prices=read_said(options.price),
            plan=self._plan,
            dedupe=options.dedupe,
            source=str(self._file or options.inputs or ""),
            command=self._again(),
            cancels=lambda: options.cancel_on_interrupt and not self._shared.terminated.came,
        )

    def _observe(self, context: Context, reading: Reading) -> None:
        if self._readings.add(reading) and reading.kind in {"text", "typed"}:
            context.reporter.tell(str(reading))

    def _text_folders(self) -> list[Path]:
        """The folders from which rows may read text with ``@path``.

        Rows may read from no other folder, because a stranger may have made them.
        """
        return [working_folder(), *([self._file.parent] if self._file else [])]

    @property
    def _file(self) -> Path | None:
        """The file of rows; None if the rows come from stdin, or from a grid without a file."""
        inputs = self._options.inputs
        return None if inputs is None or inputs == STDOUT else absolute(Path(inputs)).resolve()

    async def _replay(self, context: Context, batch: Batch, file: ResultsFile) -> None:
        """Begin the results file anew, with the results that the journal has.

        Rows from a pipe can be read only once, so for them the file begins empty.
        """
        with file.rewriting() as write:
            if self._drive and self._tally.total is not None and await context.journal.api_of(f"{batch.id}/"):
                async with aclosing(self._drive.replay(self._rows)) as results:
                    async for some in results:
                        write(self._records(file, some))
        self._readings.restart()

    def _write(self, file: ResultsFile, results: list[Result]) -> None:
        with aside() if self._options.results == STDOUT and is_shown() else nullcontext():
            file.write(self._records(file, results))

    def _records(self, file: ResultsFile, results: list[Result]) -> list[dict[str, Any]]:
        for result in results:
            self._add(result)
        folder = file.folder
        return [to_record(result, folder) for result in results]

    def _add(self, result: Result) -> None:
        self._summary.add(result)
        self._progress.answered(result.logs)
        if self._shared.verbose and (error := error_of(result)):
            with about(known(result)):
                self._progress.note(f"line {result.line}: {error}")

    async def _check(self, runner: BatchRunner) -> int:
        async with aclosing(runner.check(self._rows)) as failures:
            async for some in failures:
                for result in some:
                    self._add(result)
        tally = self._tally
        counts = {"rows": tally.read, "done": tally.stored, "to_run": tally.waiting, "wrong": tally.wrong}
        if tally.running:
            counts["running"] = tally.running
        if repeated := tally.read - tally.stored - tally.waiting - tally.running - tally.wrong:
            counts["repeated"] = repeated  # rows that share the prediction of another row
        if self._grid:
            counts["combinations"] = len(self._grid)
        models = {"models": [self._job.model, *self._grid.models]} if self._grid and self._grid.models else {}
        costs = {name: estimate.to_dict() for name, estimate in runner.estimates.items()}
        cost = {"cost": costs if models or self._chain else costs[self._job.model]} if costs else {}
        print_json({"model": self._job.model, **models, **counts, **cost})
        if runner.advice and not self._shared.quiet:
            tell(runner.advice)
        return FAILED if tally.wrong else SUCCEEDED

    def _tell_end(self, *, is_whole: bool) -> None:
        """Write the summary of the batch to stderr. ``is_whole`` is False if an error ended the batch."""
        if self._shared.quiet or (self._drive is None and not self._options.dry_run):
            return
        lines = self._summary.lines(self._columns_of_terminal())
        if self._drive is None:
            lines = lines[1:]  # the first line has the counts, which a dry run prints on stdout
        elif not self._summary.rows and not is_whole:
            lines = []
        elif before := self._tally.stored + self._tally.fetched:
            them = "it" if before == 1 else "them"
            lines.append(f"{count(before, 'row')} had been done before: nothing was created for {them} in this run")
        for line in (*lines, *self._readings.lines(), *self._rows.remarks()):
            tell(line)
        # No later run can continue a batch from stdin to stdout.
        nameless = self._options.inputs == self._options.results == STDOUT
        if (
            self._drive and not nameless and (is_whole or self._tally.read)
        ):  # if no row was read, the same command would be refused again
            self._tell_how_to_go_on(self._drive, is_whole=is_whole)

    def _columns_of_terminal(self) -> int | None:
        """The width of the terminal; None if lines may have any length."""
        return None if self._shared.verbose else width()

    def _tell_how_to_go_on(self, runner: BatchRunner, *, is_whole: bool) -> None:
        again, is_short = f"`{self._again()}", self._is_short(runner)
        if is_whole and is_short and runner.stopped:
            tell(f"stopped: {runner.stopped}")
        left = [f"{count:,} {_LEFT[what]}" for what, count in runner.detached.items() if what in _LEFT]
        if is_short and not runner.limited:
            left.append(self._rest(runner))
        if left:
            tell(f"{', '.join(left)}: {again}` goes on with them")
        if is_short and runner.limited:  # with the same limit, the command would stop at once
            tell(_with_larger(self._rest(runner), runner.limited))
        canceled = runner.detached["canceled"]
        if canceled:
            tell(f"{canceled:,} canceled")
        if (self._tally.failed or canceled) and not self._options.retry_failed:
            tell(f"{again} --retry-failed` makes a new prediction for each that did not succeed")

    def _is_short(self, runner: BatchRunner) -> bool:
        """Whether some rows have not begun."""
        return bool(runner.stopped) if self._tally.total is None else self._waiting(runner, self._tally.total) > 0

    def _rest(self, runner: BatchRunner) -> str:
        total = self._tally.total
        waiting = self._waiting(runner, self._tally.read if total is None else total)
        return f"{waiting:,} still to run" + (", and the rows that were not read yet" if total is None else "")

    def _waiting(self, runner: BatchRunner, rows: int) -> int:
        begun = runner.detached.total() - runner.detached["unsent"]
        return max(0, rows - self._tally.over - begun)

    def _place_report(self, batch: str) -> _Report | None:
        """Choose the report's file, and check it before anything is paid for; return None if no report is written.

        Raises JobError if the file exists and is not the report of this batch.
        """
        options = self._options
        results = Path(options.results)
        if options.no_report or not options.lines.is_file():  # a report cannot be made of results that go to a pipe
            return None
        others = self._grid.models if self._grid else ()
        title = ", ".join([self._job.model, *others, Path(options.inputs or GRID).name])
        path = Path(options.report) if options.report else results.with_name(REPORT)
        try:
            check_report(path, title=title, batch=batch)
        except JobError:
            if options.report:
                raise
            other = results.with_suffix(".html")
            check_report(other, title=title, batch=batch)
            tell(f"{path} is not the report of this batch and stays as it is: the report is {other}")
            path = other
        return _Report(path, title, batch)

    def _write_report(self) -> None:
        if report := self._report:
            title, command = report.title, self._again()
            write_report(
                self._options.lines, report.path, title=title, command=command, batch=report.batch, sheet=self._sheet()
            )

    def _sheet(self) -> Sheet | None:
        if not self._grid:
            return None
        from replicate_job.batches.report.sheet import Sheet  # noqa: PLC0415 - few batches have a grid

        return Sheet(self._grid, self._job.model)

    def _exit_code(self, runner: BatchRunner) -> int:
        if self._tally.failed or self._tally.wrong:
            return FAILED
        return UNFINISHED if runner.stopped and self._is_short(runner) else SUCCEEDED
