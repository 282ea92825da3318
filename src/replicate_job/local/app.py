"""The local server as an ASGI app: its routes, and the layers around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Router

from replicate_job.local.access import AccessGuard
from replicate_job.local.access_log import AccessLog
from replicate_job.local.page import routes as page_routes
from replicate_job.local.routes.account import AccountRoutes
from replicate_job.local.routes.deployments import DeploymentRoutes
from replicate_job.local.routes.files import FileRoutes
from replicate_job.local.routes.models import ModelRoutes
from replicate_job.local.routes.predictions import PredictionRoutes
from replicate_job.serving.answer import NOT_FOUND
from replicate_job.serving.middleware import FaultMiddleware
from replicate_job.serving.versioned import versioned

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from replicate_job.local.access_log import LoggedRequest
    from replicate_job.local.parts import Parts
    from replicate_job.serving.faults import Faults


def make_app(
    parts: Parts, *, token: str, faults: Faults, on_request: Callable[[LoggedRequest], None] | None = None
) -> ASGIApp:
    """Make the app. It needs a server that runs BreakableProtocol, because ``faults`` may break connections."""
    kinds = (PredictionRoutes, ModelRoutes, DeploymentRoutes, FileRoutes, AccountRoutes)
    api_routes = [route for kind in kinds for route in kind(parts).routes()]
    # A Router is used instead of a Starlette app, because a Starlette app's middleware would take longer than most
    # requests.
    router = Router([*api_routes, *page_routes()], default=NOT_FOUND)
    app = versioned(AccessGuard(FaultMiddleware(router, faults), token))
    return AccessLog(app, on_request) if on_request else app
