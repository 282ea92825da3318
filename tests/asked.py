"""The requests that a scripted API was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicate_job.testing import RecordedRequest, ScriptedAPI


def asked(api: ScriptedAPI) -> list[RecordedRequest]:
    """All requests but the one for the token's account, which a session sends beside its first create request."""
    return [request for request in api.requests if request.path != "/v1/account"]
