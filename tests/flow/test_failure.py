"""The error texts of public models and of Replicate's platform, and how they are classified."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_job.flow.failure import Failure, read_error, why
from replicate_job.testing import openapi_schema

FILE = openapi_schema({"prompt": {}}, {"type": "string", "format": "uri"})
TEXT = openapi_schema({"prompt": {}}, {"type": "string"})


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ("Prediction interrupted; please retry (code: PA)", "interrupted"),
        ("Director: unexpected error handling prediction (E9828)", "interrupted"),
        ("Director: unexpected error handling prediction (E6716)", "interrupted"),
        ("Director: unexpected error handling prediction (E1001)", "failed"),
        ("E1000 - Unknown Error", "interrupted"),
        ("E6716: Timeout Starting Prediction", "interrupted"),
        ("E8367 - Prediction Stopped in Non-Terminal State", "interrupted"),
        ("E8765 - Model Health Check Failed", "interrupted"),
        ("E9243 - Error Starting Prediction", "interrupted"),
        ("E9825 - Failed to Upload File", "interrupted"),
        ("E1001 - Model Out of Memory (OOM Killed)", "failed"),
        ("E4875 - Internal Webhook URL Empty", "wrong input"),
        (
            "RateLimit: Service is currently unavailable due to high demand. Please try again later. (E003) (1c)",
            "interrupted",
        ),
        ("Service is temporarily unavailable. Please try again later. (E004)", "interrupted"),
        ("429 RESOURCE_EXHAUSTED", "interrupted"),
        ("Prediction failed for an unknown reason. It might have run out of memory? (exitcode -9)", "interrupted"),
        ("The input or output was flagged as sensitive. Please try again with different inputs. (E005)", "refused"),
        ("NSFW content detected. Try running it again, or try a different prompt.", "refused"),
        ("All generated images contained NSFW content. Try running it again with a different prompt.", "refused"),
        ("Your request was rejected by our safety system.", "refused"),
        ("Request Moderated: please retry", "refused"),
        ("input contains sensitive words", "refused"),
        ("CUDA out of memory. Tried to allocate 5.92 GiB (GPU 0; 14.76 GiB total capacity)", "failed"),
        ("E1001 PromptRequired: A prompt is required", "wrong input"),
        ("E1102 InvalidArgumentMaxTokens: Can't set both", "wrong input"),
        ("E1002 PromptTooLong: the prompt has 5000 tokens", "failed"),
        ("'NoneType' object has no attribute 'shape'", "failed"),
        ({"detail": "Prediction interrupted; please retry"}, "interrupted"),
        (None, "failed"),
        ("", "failed"),
        ("a line\n" * 10_000 + "Prediction interrupted; please retry (code: PA)", "interrupted"),
    ],
)
def test_each_error_of_a_public_model_is_classified_as_in_the_table(error: Any, failure: Failure) -> None:
    assert read_error(error) == failure
    assert why("failed", error, None, None) == failure


@pytest.mark.parametrize(
    ("status", "output", "schema", "failure"),
    [
        ("succeeded", "https://replicate.delivery/a.png", FILE, ""),
        ("succeeded", None, FILE, "empty"),
        ("succeeded", "", FILE, "empty"),
        ("succeeded", None, None, "empty"),
        ("succeeded", "", TEXT, ""),
        ("succeeded", 0, TEXT, ""),
        ("canceled", None, FILE, "canceled"),
        ("aborted", None, FILE, "canceled"),
        ("processing", None, FILE, ""),
    ],
)
def test_a_success_without_the_promised_output_counts_as_empty(
    status: str, output: Any, schema: dict[str, Any] | None, failure: Failure
) -> None:
    assert why(status, None, output, schema) == failure


def test_a_prediction_whose_data_the_api_has_deleted_does_not_count_as_empty() -> None:
    assert why("succeeded", None, None, FILE, is_removed=True) == ""
