"""``replicate-job pull``: keep the outputs of predictions that were made elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

import click
import msgspec

from replicate_job.cli.age import Age
from replicate_job.cli.completion import folders, models
from replicate_job.cli.exits import SUCCEEDED, exit_code, explain, status_code
from replicate_job.cli.help import examples
from replicate_job.cli.options import OUTPUTS, Common, common, fetching, output_only, place
from replicate_job.cli.output import Shown
from replicate_job.cli.streams import tell
from replicate_job.flow.context import Context
from replicate_job.flow.pull import SINCE, Pull, Pulled
from replicate_job.flow.resolve import find_schema
from replicate_job.wire.target import Target, parse_target

NAMED = 5
"""The most expired predictions that the message names."""
_WORDS = {
    "kept": "kept",
    "known": "kept before",
    "empty": "without an output",
    "running": "still running",
    "expired": "expired",
    "failed": "not kept",
}


@click.command(
    "pull",
    epilog=examples(
        "replicate-job pull gm3qorzdhgbfurvjtvhg6dckhu",
        "replicate-job pull --since 1h --save pictures",
        "replicate-job pull --model black-forest-labs/flux-schnell --output-only",
    ),
)
@click.argument("names", nargs=-1, metavar="[ID]...")
@click.option("--since", type=Age(), metavar="AGE", help="Only those of the last 1h, 2d, 2w; default 2h.")
@click.option(
    "--model", metavar="MODEL", shell_complete=models, help="Only those of this model, version or deployment."
)
@click.option(
    "--save",
    metavar="DIR|URL",
    shell_complete=folders,
    help=f"As for run: DIR/<prediction id>/, or a template; default {OUTPUTS}, or the folder of their job.",
)
@output_only
@fetching
@common
async def command(  # noqa: PLR0913 - one argument an option
    shared: Common, names: tuple[str, ...], since: int | None, model: str | None, save: str | None, *, output_only: bool
) -> int:
    """Keep the outputs of predictions that were made on the web page or by other programs, each once.

    Without ID, all predictions of the account's last 2 hours are pulled: the API deletes outputs an hour after the end.
    Outputs that are kept already are not fetched again.
    """
    if names and (since is not None or model):
        raise click.UsageError("--since and --model choose predictions, and IDs name them: give only one")
    target = parse_target(model) if model else None
    stopped = f"stopped; what is kept stays: {shared.line('pull', *names)} goes on"
    report = _Report(shared, Shown(alone=output_only), is_named=bool(names))
    async with shared.session(stopped=stopped) as context:
        pull = Pull(context, str(place(save, no_save=False)), moves=save is not None)
        async with aclosing(_select(pull, names, since, target)) as pulled:
            async for each in pulled:
                await report.add(context, each)
    return report.end()


def _select(
    pull: Pull, names: tuple[str, ...], since: int | None, target: Target | None
) -> AsyncGenerator[Pulled, None]:
    return pull.named(names) if names else pull.recent(SINCE if since is None else timedelta(seconds=since), target)


class _Report:
    """Prints each prediction whose outputs were kept now, and names the expired predictions at the end.

    ``is_named`` says that the user named the predictions by ID. Then those whose outputs were kept before are printed
    too, and the status of each prediction counts for the exit code.
    """

    def __init__(self, shared: Common, shown: Shown, *, is_named: bool) -> None:
        self._shared, self._shown, self._is_named = shared, shown, is_named
        self._fates: Counter[str] = Counter()
        self._expired: list[str] = []
        self._code = SUCCEEDED

    async def add(self, context: Context, pulled: Pulled) -> None:
        self._fates[pulled.fate] += 1
        result, error = pulled.result, pulled.error
        if pulled.fate == "expired":
            self._expired.append(result.prediction_id)
        elif error:
            tell(f"{result.prediction_id}: {explain(error)}", "error", prediction=result.prediction_id)
        is_news = bool(result.files) if error else pulled.fate == "kept" or self._is_named
        if is_news:
            shown = self._shown
            if shown.lacks_schema(result):
                shown = msgspec.structs.replace(shown, schema=await find_schema(context, result.model))
            shown.report(result)
        if error:
            self._code = max(self._code, exit_code(error))
        elif self._is_named:
            self._code = max(self._code, status_code(result.status))

    def end(self) -> int:
        """Write how many predictions were kept, failed or had expired, and return the exit code."""
        if self._expired:
            rest = f" and {len(self._expired) - NAMED} more" if len(self._expired) > NAMED else ""
            names = f"{', '.join(self._expired[:NAMED])}{rest}"
            tell(f"error: the API has deleted the outputs of {names}: it keeps them for an hour after the end")
        if not self._shared.quiet:
            told = ", ".join(f"{self._fates[fate]} {words}" for fate, words in _WORDS.items() if self._fates[fate])
            tell(told or "no predictions")
        return self._code
