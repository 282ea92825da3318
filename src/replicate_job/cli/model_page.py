"""``replicate-job schema --example`` and ``--readme``: what a model's page shows besides its schema."""

from __future__ import annotations

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.options import Common
from replicate_job.cli.output import print_json, print_text
from replicate_job.flow.holdings import example
from replicate_job.flow.holdings import readme as read_readme


async def show(shared: Common, model: str, *, readme: bool) -> int:
    """Print the readme, or the example as a job file in JSON."""
    async with shared.session() as context:
        if readme:
            print_text(await read_readme(context, model))
        else:
            job = await example(context, model)
            print_json({"model": job.model, "input_data": job.input_data})
    return SUCCEEDED
