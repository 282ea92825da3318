"""The parts of the local server that its endpoints use."""

from __future__ import annotations

import msgspec

from replicate_job.local.catalog.async_catalog import AsyncCatalog
from replicate_job.local.deployments import Deployments
from replicate_job.local.engine import Engine
from replicate_job.local.files.files import Files
from replicate_job.local.predictions import Predictions
from replicate_job.local.webhooks import Webhooks


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    catalog: AsyncCatalog
    engine: Engine
    predictions: Predictions
    deployments: Deployments
    files: Files
    webhooks: Webhooks
    base_url: str
    """The origin where the server listens. Addresses in webhooks begin with it.

    Addresses in the answer to a request begin with the origin that the request names.
    """
