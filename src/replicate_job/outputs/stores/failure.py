"""Explains an object store's error in one line. The error's own text is never shown: it may hold credentials."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicate_job.outputs.stores.location import Bucket

_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_INSTANCE = ("169.254.", "metadata.google.internal", "oauth2", "TokenRequest", "token request", "MissingCredential")
"""An error about missing credentials contains at least one of these texts. Some are parts of the addresses that the
library asks for credentials if the environment has none."""
_LACKING = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`",
    "az": "set AZURE_STORAGE_ACCOUNT_KEY, or AZURE_USE_AZURE_CLI=true",
}
_VARIABLES = {"s3": "AWS_…", "gs": "GOOGLE_…", "az": "AZURE_…"}

_KINDS = {
    "FileNotFoundError": "there is no bucket {}",
    "NotFoundError": "there is no bucket {}",
    "PermissionDeniedError": "the credentials may not write to {}",
    "UnauthenticatedError": "the credentials are not accepted for {}",
}
"""Maps the class name of a library's error to a message. Names are used so that the library need not be imported."""


class StoreError(OSError):
    """An object store failed or refused a request. The message is complete, without the store's own text."""


def explain(error: Exception, bucket: Bucket) -> str:
    """Why the store refused a request, and what to do."""
    text, kind = str(error), type(error).__name__
    if any(word in text for word in _INSTANCE):
        return f"no credentials for {bucket} were found: {_LACKING[bucket.scheme]}"
    found = _CODE.search(text) or _STATUS.search(text)
    return _known(kind, text, bucket) + (f" ({found[1]})" if found else "")


def explain_settings(error: Exception, bucket: Bucket) -> str:
    """Why the bucket cannot be opened. No request was sent, so the settings are wrong."""
    if "MissingAccount" in str(error):
        return "the storage account is not known: set AZURE_STORAGE_ACCOUNT_NAME"
    return f"its settings or credentials cannot be read: check the variables {_VARIABLES[bucket.scheme]}"


def _known(kind: str, text: str, bucket: Bucket) -> str:
    if kind in _KINDS:
        return _KINDS[kind].format(bucket)
    if "redirect" in text.lower():
        return f"{bucket} is in another region: set AWS_REGION"
    if "error sending request" in text or "timed out" in text:
        return f"{bucket} cannot be reached"
    return f"{bucket} refuses it"
