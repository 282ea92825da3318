"""The outputs of a chain's ended steps, in the forms (URL or file) in which a later step uses them as inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from replicate_job.batches.attempts import latest
from replicate_job.batches.chains.plan import ChainPlan
from replicate_job.chain import Call, Step, base_of, in_order
from replicate_job.errors import JobError, TransportError
from replicate_job.flow.context import Context
from replicate_job.inputs.content import Content
from replicate_job.job import Kept
from replicate_job.journal.entry import Entry
from replicate_job.outputs.discover import OutputFile, find_files, is_text
from replicate_job.outputs.stores.location import split
from replicate_job.wire.data_url import read_head
from replicate_job.wire.prediction import parse_time

LIVES = 45 * 60.0
"""Seconds after the end of a prediction in which a step may begin with the URL of the prediction's output. The API
deletes the output after an hour, and the step's model reads the URL only after it has started."""


_NONE: Mapping[str, Content] = {}


class End(msgspec.Struct, frozen=True):
    """The output of a call that ended. ``files`` are the files of the output that were kept."""

    prediction_id: str
    output: Any
    completed_at: str | None
    files: tuple[Kept, ...] = ()


class Outputs:
    """The outputs of one chain. ``ends`` has the ``End`` of each call with an output, by the call's name."""

    def __init__(self, context: Context, plan: ChainPlan) -> None:
        self.ends: dict[str, End] = {}
        self._context, self._plan = context, plan
        self._calls: dict[str, list[Call] | JobError] = {}  # by step, once the list that the step runs for is known

    def recall(self, name: str, entry: Entry) -> None:
        """Add the output of a call from its entry in the journal."""
        prediction = entry.prediction
        if prediction and prediction.output is not None:
            self.ends[name] = End(prediction.id, prediction.output, prediction.completed_at, entry.files)

    def calls(self, step: str) -> list[Call] | None:
        """The step's calls; None until the list that the step runs for is known.

        Raises JobError for a value that is not a list.
        """
        if step not in self._calls:
            chain = self._plan.chain
            source = chain.list_of(step)
            if source and not self.has(source):
                return None
            try:
                self._calls[step] = chain.calls(chain.step(step), {source: self.as_url(source)} if source else {})
            except JobError as error:
                self._calls[step] = error
        found = self._calls[step]
        if isinstance(found, JobError):
            raise found
        return found

    def known_calls(self, step: str) -> list[Call]:
        """The step's calls; empty if they are not known."""
        try:
            return self.calls(step) or []
        except JobError:
            return []

    def has(self, step: str) -> bool:
        """Whether all calls of the step have ended with an output."""
        try:
            calls = self.calls(step)
        except JobError:
            return False
        return calls is not None and all(call.name in self.ends for call in calls)

    def lives(self, call: Call, *, is_new: bool) -> bool:
        """Whether the URLs of the call's output can still be read. ``is_new``: its prediction ended in this run."""
        end, client = self.ends[call.name], self._context.client
        if all(read_head(file.url) for file in self._files(call)):
            return True
        if self._context.ephemeral:  # the server of an earlier run has ended, and its files are gone
            return is_new
        ended = parse_time(end.completed_at)
        now = client.api_time or self._context.clock.time()
        return now < ended.timestamp() + LIVES if ended else is_new

    def as_url(self, step: str) -> Any:
        """The step's output as the API returned it, but with streamed text joined.

        If the step runs for a list, this is the list of its calls' outputs.
        """
        return self._gather(step, [self._as_url(call) for call in self.known_calls(step)])

    def as_file(self, step: str, held: Mapping[str, Content] = _NONE) -> Any:
        """The step's output with the kept files in place of the files' URLs.

        ``held`` has the contents of files in object stores, by their URLs. None if a file is neither on this machine
        nor in ``held``, or if the output of the step's only call has no files.
        """
        forms = [self._as_file(call, held) for call in self.known_calls(step)]
        return None if any(form is None for form in forms) else self._gather(step, forms)

    def stored(self, step: str) -> list[str]:
        """The URLs of the step's files that are kept in object stores."""
        ends = [self.ends[call.name] for call in self.known_calls(step)]
        return [str(path) for end in ends for path in end.files if not isinstance(path, Path)]

    async def hold(self, step: str) -> dict[str, Content]:
        """The contents of the step's files that are kept in object stores, by their URLs.

        Raises JobError for a file that is gone, TransportError if a store cannot be read now.
        """
        held: dict[str, Content] = {}
        for address in self.stored(step):
            try:
                data = await self._context.stores.get(*split(address))
            except FileNotFoundError:
                raise JobError(f"{address}, which the step {step} made, is gone: run the chain anew") from None
            except OSError as error:
                raise TransportError(f"{address} cannot be read: {error}") from None
            held[address] = Content.of(data, address.rpartition("/")[2])
        return held

    def _gather(self, step: str, forms: list[Any]) -> Any:
        return forms if self._plan.chain.list_of(step) else forms[0]

    def _files(self, call: Call) -> list[OutputFile]:
        schema = self._plan.models[call.step.name].schema
        return find_files(self.ends[call.name].output, schema, origin=self._context.client.base_url)

    def _as_url(self, call: Call) -> Any:
        output = self.ends[call.name].output
        if isinstance(output, list) and is_text(self._plan.models[call.step.name].schema):
            return "".join(map(str, output))
        return output

    def _as_file(self, call: Call, held: Mapping[str, Content]) -> Any:
        files, end = self._files(call), self.ends[call.name]
        output = end.output
        if not files:
            return self._as_url(call) if call.index is not None else None
        kept = [path if isinstance(path, Path) else held.get(path) for path in end.files]
        if len(files) != len(kept) or None in kept:
            return None
        for file, path in zip(files, kept, strict=True):
            output = _replaced(output, file.position, path)
        return output


async def look_up_calls(
    context: Context, plan: ChainPlan, batch: str, starts: Iterable[str]
) -> dict[str, dict[str, Entry]]:
    """The last job of each call of several chains, by the chain's start and then by the call's name.

    A chain's start is the part of its jobs' keys between the batch's id and the call's name.
    """
    found: dict[str, dict[str, Entry]] = {start: {} for start in starts}
    outputs = {start: Outputs(context, plan) for start in found}
    steps = plan.chain.steps
    # A step with ``for_each`` runs for each item of a list, the output of another step: look that step up first.
    for some in ([step for step in steps if step.for_each is None], *([step] for step in steps if step.for_each)):
        names: dict[str, tuple[str, str]] = {}
        for start, made in outputs.items():
            calls = [call.name for step in some for call in made.known_calls(step.name)]
            if not calls and _is_lost(plan, some, found[start]):
                jobs = await context.journal.steps_of(f"{batch}/{start}".removesuffix("/"))
                calls = [str(job.chain_step) for job in jobs if base_of(str(job.chain_step)) == some[0].name]
            names |= {f"{start}{call}": (start, call) for call in calls}
        entries = await latest(context, batch, names)
        for name, (start, call) in names.items():
            if name in entries:
                found[start][call] = entries[name]
                outputs[start].recall(call, entries[name])
    order = [step.name for step in steps]
    return {start: {call: begun[call] for call in in_order(begun, order)} for start, begun in found.items()}


def _is_lost(plan: ChainPlan, steps: list[Step], begun: Mapping[str, Entry]) -> bool:
    """Whether the journal has lost the list that the step ran for: the list's step succeeded, but has no output."""
    source = plan.chain.list_of(steps[0].name)
    made = [entry for name, entry in begun.items() if base_of(name) == source]
    return any(
        entry.status == "succeeded" and (entry.prediction is None or entry.prediction.output is None) for entry in made
    )


def _replaced(value: Any, position: tuple[str | int, ...], new: Any) -> Any:
    if not position:
        return new
    key, rest = position[0], position[1:]
    if isinstance(value, list):
        return [_replaced(item, rest, new) if index == key else item for index, item in enumerate(value)]
    return {name: _replaced(item, rest, new) if name == key else item for name, item in value.items()}
