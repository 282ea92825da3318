"""Opens a bucket with the credentials that the store's own tools would use."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from replicate_job.errors import JobError
from replicate_job.extras import advice
from replicate_job.outputs.stores.aws_profile import Profile, read_profile
from replicate_job.outputs.stores.failure import explain_settings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore

    from replicate_job.outputs.stores.location import Bucket

_OPTIONS: ClientConfig = {"timeout": "120s", "connect_timeout": "10s"}
"""A request has a long timeout, because a slow connection takes long to upload a part of a large file."""
_ADDRESS = re.compile(r"https?://[\w.:\[\]-]+(?:/[\w./-]*)?", re.IGNORECASE | re.ASCII)
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def open_bucket(bucket: Bucket) -> ObjectStore:
    """Open the bucket without a request. Raises JobError if the extra ``stores`` is missing or settings are wrong."""
    try:
        from obstore import store  # noqa: PLC0415 - an optional dependency
        from obstore.exceptions import BaseError  # noqa: PLC0415
    except ImportError:
        raise JobError(f"outputs in {bucket.scheme}://… need another package: {advice('stores')}") from None
    try:
        match bucket.scheme:
            case "s3":
                return _open_s3(store, bucket.name)
            case "gs":
                return store.GCSStore(bucket.name, client_options=_OPTIONS)
        return store.AzureStore(bucket.name, client_options=_OPTIONS)
    except (BaseError, ValueError) as error:  # no request was sent: the settings are wrong
        raise JobError(f"outputs cannot be kept in {bucket}: {explain_settings(error, bucket)}") from None


def _open_s3(store: Any, bucket: str) -> ObjectStore:
    options = _OPTIONS.copy()
    facts: dict[str, Any] = {"disable_bulk_delete": True}  # some stores with S3's protocol cannot delete in bulk
    if variable := next(filter(os.environ.get, _ENDPOINTS), ""):
        endpoint = os.environ[variable].strip()
        if not _ADDRESS.fullmatch(endpoint):
            raise JobError(f"{variable} is not an address: write it like https://storage.example.com")
        facts["endpoint"] = endpoint
        if endpoint.lower().startswith("http://"):  # the user chose HTTP, which AWS's own tools accept too
            options["allow_http"] = True
    if profile := read_profile():
        facts |= profile.keys
        if profile.region and not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
            facts["region"] = profile.region
        if profile.needs_boto3:
            facts["credential_provider"] = _with_boto3(profile)
    opened: ObjectStore = store.S3Store(bucket, client_options=options, **facts)
    return opened


def _with_boto3(profile: Profile) -> Any:
    try:
        from boto3.session import Session  # noqa: PLC0415 - an optional dependency
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415
    except ImportError:
        raise JobError(
            f"the AWS profile {profile.name!r} gets its credentials from elsewhere: pip install boto3, "
            "or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    try:
        return Boto3CredentialProvider(Session(profile_name=profile.name))
    except Exception:  # noqa: BLE001 - any error's text may hold credentials
        raise JobError(f"the AWS profile {profile.name!r} gives no credentials: log in with `aws`") from None
