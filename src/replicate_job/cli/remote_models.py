"""``replicate-job models --remote``: what an owner has published."""

from __future__ import annotations

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.options import Common
from replicate_job.cli.search import show
from replicate_job.flow.holdings import models_of


async def list_models(shared: Common, owner: str, *, as_json: bool) -> int:
    async with shared.session() as context:
        models = [model async for model in models_of(context, owner)]
    models.sort(key=lambda model: (-(model.run_count or 0), model.name))
    show(models, as_json=as_json, none="" if shared.quiet else f"the API's list shows no public model of {owner}")
    return SUCCEEDED
