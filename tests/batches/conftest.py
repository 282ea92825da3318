"""Results for tests of records, summaries and reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from replicate_job.job import Result

Make = Callable[..., Result]


@pytest.fixture
def make() -> Make:
    """Make a result of a row that took 2.5 s; any of its fields may be given."""

    def result(line: int = 1, **fields: Any) -> Result:
        usual: dict[str, Any] = {
            "prediction_id": f"id{line}",
            "status": "succeeded",
            "model": "owner/name",
            "input": {"prompt": "a cat", "seed": line},
            "output": "words",
            "created_at": "2025-03-14T10:00:00.000000Z",
            "completed_at": "2025-03-14T10:00:02.500000Z",
            "urls": {"get": f"https://api.replicate.com/v1/predictions/id{line}"},
            "metrics": {"predict_time": 2.0},
            "key": f"b-{line}",
        }
        return Result(**usual | fields, line=line)

    return result
