"""Resolves the models of a chain, and checks its steps, before anything is paid for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec

from replicate_job.chain import Chain, Step
from replicate_job.errors import InputError, JobError
from replicate_job.flow.context import Context
from replicate_job.flow.prepare import check_job
from replicate_job.flow.resolved import Resolved
from replicate_job.job import Job
from replicate_job.wire.duration import parse_cancel_after
from replicate_job.wire.target import parse_target

_PRICE = "--price (in Python price=)"


class ChainPlan(msgspec.Struct, frozen=True, dict=True):  # cached properties need ``dict``
    """A chain that can be run. ``models`` has the resolved model of each step, by the step's name."""

    chain: Chain
    models: dict[str, Resolved]

    @cached_property
    def resolved(self) -> Resolved:
        """The chain in the form of a resolved model, whose schema has the chain's own inputs."""
        schema = self.chain.document({step: resolved.schema for step, resolved in self.models.items()})
        return Resolved(self.models[self.chain.steps[0].name].target, "", schema=schema)

    def check(self, values: Mapping[str, Any]) -> list[str]:
        """One line for each problem of the chain's input, and of the inputs that the steps make from it."""
        if problems := self.resolved.checker.check(values):
            return problems
        problems = []
        for step in self.chain.steps:
            try:
                known, later = self.chain.known_input(step.name, values)
            except JobError as error:
                return [str(error)]
            lines = self._check(step, known, later)
            problems += [f"step {step.name}: {line}" for line in lines]
        return problems

    @property
    def by_model(self) -> dict[str, Resolved]:
        """The resolved models, by the names that the steps use for them."""
        return {step.model: self.models[step.name] for step in self.chain.steps}

    def cancel_after(self, model: str) -> str | None:
        """The longest ``cancel_after`` of this model's steps; None if one of the steps has no ``cancel_after``."""
        given = [step.cancel_after for step in self.chain.steps if step.model == model]
        return None if None in given else max((each for each in given if each), key=parse_cancel_after)

    def _check(self, step: Step, known: Mapping[str, Any], later: frozenset[str]) -> list[str]:
        return self.models[step.name].checker.check(known, allow_unknown=step.allow_unknown, later=later)

    def check_steps(self) -> list[str]:
        """The problems of the steps that do not depend on the chain's input."""
        problems = []
        for step in self.chain.steps:
            known, later = self.chain.known_input(step.name, None)
            problems += [f"step {step.name}: {line}" for line in self._check(step, known, later)]
        return problems + self.chain.misfits({step: resolved.schema for step, resolved in self.models.items()})


def prices_by_model(chain: Chain, said: Mapping[str, str]) -> dict[str, str]:
    """The user's prices by the model's name. ``said`` has them by the name of a step or a model. Raises JobError."""
    models = {step.name: step.model for step in chain.steps}
    found: dict[str, str] = {}
    for name, price in said.items():
        model = models.get(name, name)
        if not name:
            raise JobError(f"{_PRICE}: name the step or the model of this price: --price {next(iter(models))}={price}")
        if model not in models.values():
            names = ", ".join(dict.fromkeys([*models, *models.values()]))
            raise JobError(f"{_PRICE}: {name} is neither a step of the chain nor a model: these are {names}")
        if found.setdefault(model, price) != price:
            raise JobError(f"{_PRICE}: {model} has two prices, and its steps cost the same: give one")
    return found


def chain_job(chain: Chain, values: Mapping[str, Any] | None = None) -> Job:
    """The chain with its input, in the form of a job. It is never run: the steps have jobs of their own."""
    return Job(chain.name, dict(values or {}))


def step_job(step: Step, input_data: dict[str, Any]) -> Job:
    return Job(step.model, input_data, cancel_after=step.cancel_after, allow_unknown=step.allow_unknown)


def check_chain(chain: Chain) -> None:
    """Check what can be checked without a request. Raises JobError."""
    for step in chain.steps:
        try:
            check_job(step_job(step, chain.known_input(step.name, None)[0]))
        except JobError as error:
            raise JobError(f"step {step.name}: {error}") from None


async def plan_chain(context: Context, chain: Chain) -> ChainPlan:
    """Resolve every step's model, and check the steps. Raises one InputError with all problems."""
    models = {step.name: await context.strategy.resolve(context, parse_target(step.model)) for step in chain.steps}
    for step in chain.steps:
        if models[step.name].schema is None:
            context.reporter.note(f"the API shows no schema for {step.model}: the step {step.name} is not checked")
    plan = ChainPlan(chain, models)
    if problems := plan.check_steps():
        raise InputError(chain.name, problems)
    return plan
