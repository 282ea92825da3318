"""Messages about errors of stores: a store's own text is never shown, because it may hold credentials."""

from __future__ import annotations

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError, UnauthenticatedError

from replicate_job.outputs.stores.failure import explain
from replicate_job.outputs.stores.location import Bucket

S3, GS, AZ = (Bucket(scheme, "b") for scheme in ("s3", "gs", "az"))


@pytest.mark.parametrize(
    ("error", "bucket", "said"),
    [
        (FileNotFoundError("<Code>NoSuchBucket</Code>"), S3, "there is no bucket s3://b (NoSuchBucket)"),
        (PermissionDeniedError("status code: 403 Forbidden"), GS, "the credentials may not write to gs://b (403)"),
        (UnauthenticatedError("<Code>X</Code> AKIAHUSH"), S3, "the credentials are not accepted for s3://b (X)"),
        (GenericError("Received redirect without LOCATION"), S3, "s3://b is in another region: set AWS_REGION"),
        (GenericError("error sending request for https://x?sig=HUSH"), AZ, "az://b cannot be reached"),
        (GenericError("status code: 503"), S3, "s3://b refuses it (503)"),
        (GenericError("GET http://169.254.169.254/token"), GS, "no credentials for gs://b were found: set "),
        (GenericError("performing token request: GET http://metadata"), GS, "no credentials for gs://b were found"),
        (RuntimeError("HUSH"), S3, "s3://b refuses it"),
    ],
)
def test_an_error_of_a_store_is_explained_without_the_text_of_the_store(
    error: Exception, bucket: Bucket, said: str
) -> None:
    told = explain(error, bucket)
    assert told.startswith(said)
    assert "HUSH" not in told
