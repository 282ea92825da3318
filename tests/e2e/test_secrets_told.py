"""An error answer may repeat the token or a gateway's key. Neither is shown or stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_job.serving.answer import problem
from replicate_job.testing import Fault

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

PRIVATE = "acme/private"
KEY = 'gateway/key"0123456789'


@pytest.mark.parametrize("status", [401, 422, 500])
@pytest.mark.parametrize("operation", ["create", "model"])
def test_a_secret_that_an_error_answer_repeats_is_neither_shown_nor_stored(
    api: ScriptedAPI, command: Command, operation: str, status: int
) -> None:
    told = f"bad token Bearer {api.token} of bearer-free text, with key {KEY}, short prod"
    for _ in range(1 if status < 500 else 40):
        api.faults.next(operation, Fault.answering(problem(status, told, title=f"no {api.token}")))
    command.environment["REPLICATE_JOB_HEADERS"] = f"x-key: Bearer {KEY}, x-stage: prod".replace(", ", "\n")
    outcome = command("run", PRIVATE, "n=1", "--key", "job", "--timeout", "3s")
    listed = command("list", "--json")
    stored = b"".join(path.read_bytes() for path in command.journal.parent.iterdir() if path.is_file())
    assert outcome.code != 0
    if status < 500:
        assert "no ***: bad token Bearer *** of bearer-free text, with key ***, short prod" in outcome.err
    for secret in (api.token, KEY, KEY.partition('"')[0]):
        assert secret not in f"{outcome.err}{outcome.out!r}{listed.out!r}"
        assert secret.encode() not in stored
