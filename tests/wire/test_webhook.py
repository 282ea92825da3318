from __future__ import annotations

import subprocess
import sys
import time
from base64 import b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from replicate_job import verify_webhook
from replicate_job.errors import WebhookVerificationError
from replicate_job.wire.webhook import sign

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "whsec_" + b64encode(bytes(range(24))).decode()
OTHER = "whsec_" + b64encode(b"another key").decode()
BODY = '{"id": "prediction", "output": "ä"}'.encode()
KEYS = st.binary(min_size=1, max_size=64)
IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


def headers(secret: str = SECRET, id: str = "msg_1", age: int = 0, body: bytes = BODY) -> dict[str, str]:  # noqa: A002 - the scheme's own name
    at = int(time.time()) - age
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": sign(secret, id, at, body),
        "content-type": "application/json",
    }


@given(KEYS, IDS, st.text(max_size=300), st.integers(-250, 250), st.booleans())
def test_signatures_agree_with_the_standard_webhooks_library(
    key: bytes,
    id: str,  # noqa: A002 - the scheme's own name
    body: str,
    age: int,
    padded: bool,  # noqa: FBT001 - drawn
) -> None:
    secret = "whsec_" + b64encode(key).decode().rstrip("" if padded else "=")
    oracle = Webhook(secret)
    ours = headers(secret, id, age, body.encode())
    oracle.verify(body, ours, json_parse=False)
    at = int(time.time()) - age
    theirs = oracle.sign(id, datetime.fromtimestamp(at, UTC), body)
    assert theirs == sign(secret, id, at, body)
    verify_webhook({**ours, "webhook-timestamp": str(at), "webhook-signature": theirs}, body, secret)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-signature"])
def test_a_header_of_invalid_utf_8_is_refused(name: str) -> None:
    with pytest.raises(WebhookVerificationError):
        verify_webhook(headers() | {name: "\udcff\ud800"}, BODY, SECRET)


def test_a_body_of_invalid_utf_8_is_refused() -> None:
    with pytest.raises(WebhookVerificationError):
        verify_webhook(headers(), "\udcff", SECRET)


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_a_body_with_one_changed_byte_does_not_match(place: int, change: int) -> None:
    body = bytearray(BODY)
    body[place] ^= change
    with pytest.raises(WebhookVerificationError, match="no signature of the webhook matches"):
        verify_webhook(headers(), bytes(body), SECRET)


@pytest.mark.parametrize(
    "spell",
    [
        lambda name, value: (name.title(), value),
        lambda name, value: (name.upper(), value.encode()),
        lambda name, value: (name.encode(), value.encode()),
    ],
    ids=["title case", "bytes values", "bytes"],
)
def test_header_names_are_read_in_any_case_and_as_text_or_bytes(spell: Callable[[str, str], tuple[Any, Any]]) -> None:
    seen = dict(spell(name, value) for name, value in headers().items())
    verify_webhook(seen, BODY, SECRET)
    verify_webhook(seen, BODY.decode(), SECRET)


@pytest.mark.parametrize(
    ("listed", "matches"),
    [
        ("v1,AAAA {} v1a,BBBB", True),
        ("{} {}", True),
        ("v1a,AAAA", False),
        ("v2{}", False),
        ("{}A", False),
        ("v1, nonsense , ä", False),
    ],
)
def test_one_matching_signature_among_several_is_enough(listed: str, matches: bool) -> None:  # noqa: FBT001 - drawn
    seen = headers()
    seen["webhook-signature"] = listed.replace("{}", seen["webhook-signature"])
    if matches:
        verify_webhook(seen, BODY, SECRET)
    else:
        with pytest.raises(WebhookVerificationError, match="no signature"):
            verify_webhook(seen, BODY, SECRET)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
def test_the_id_and_the_time_of_a_webhook_are_signed_too(name: str) -> None:
    with pytest.raises(WebhookVerificationError, match="no signature"):
        verify_webhook(headers() | {name: headers(id="msg_2", age=100)[name]}, BODY, SECRET)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("gone", [True, False])
def test_the_error_names_a_header_that_is_missing_or_empty(name: str, gone: bool) -> None:  # noqa: FBT001 - drawn
    seen = {key: value for key, value in headers().items() if key != name} | ({} if gone else {name: ""})
    with pytest.raises(WebhookVerificationError, match=f"^the webhook has no header {name}$"):
        verify_webhook(seen, BODY, SECRET)


def test_the_time_may_differ_by_five_minutes_or_by_the_given_tolerance() -> None:
    for age in (295, -295):
        verify_webhook(headers(age=age), BODY, SECRET)
    verify_webhook(headers(age=4000), BODY, SECRET, tolerance=5000)
    with pytest.raises(WebhookVerificationError, match=r"^the webhook was sent 40[0-2] s ago, and 300 s are allowed"):
        verify_webhook(headers(age=400), BODY, SECRET)
    with pytest.raises(
        WebhookVerificationError, match=r"was sent (399|400) s ahead of this machine's clock, and 300 s"
    ):
        verify_webhook(headers(age=-400), BODY, SECRET)
    with pytest.raises(WebhookVerificationError, match="s ago, and 10 s are allowed"):
        verify_webhook(headers(age=60), BODY, SECRET, tolerance=10)


@pytest.mark.parametrize("time", ["now", "1e9", "-5", "1.5", "²", " 12", "9" * 400, "nan"])
def test_a_malformed_timestamp_is_refused(time: str) -> None:
    with pytest.raises(WebhookVerificationError, match="webhook-timestamp is no Unix time"):
        verify_webhook(headers() | {"webhook-timestamp": time}, BODY, SECRET)


@pytest.mark.parametrize("secret", ["", "whsec_", "r8_sesame", "whsec_se same", "whsec_sesamä", "whsec_sesam"])
def test_the_error_for_an_unreadable_secret_does_not_show_it(secret: str) -> None:
    with pytest.raises(WebhookVerificationError) as caught:
        verify_webhook(headers(), BODY, secret)
    assert str(caught.value) == "the webhook secret cannot be read: it must be whsec_ and base64"


@pytest.mark.parametrize("secret", [None, SECRET.encode(), 5])
def test_a_secret_that_is_not_text_is_refused_with_the_name_of_its_type(secret: Any) -> None:
    with pytest.raises(WebhookVerificationError, match=r"^the webhook secret is of the type") as caught:
        verify_webhook(headers(), BODY, secret)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("spelled", [f" {SECRET}\n", f'"{SECRET}"', f"'{SECRET}' "])
def test_spaces_and_quotes_around_a_secret_are_ignored(spelled: str) -> None:
    verify_webhook(headers(), BODY, spelled)


@pytest.mark.parametrize("body", [None, {"id": "x"}, 5])
def test_a_body_that_was_decoded_from_json_is_refused(body: Any) -> None:
    with pytest.raises(WebhookVerificationError, match="body must be the bytes or text as received"):
        verify_webhook(headers(), body, SECRET)


@pytest.mark.parametrize("wrong", [None, [], "x", 5])
def test_headers_that_are_not_a_mapping_are_refused(wrong: Any) -> None:
    with pytest.raises(WebhookVerificationError, match="headers must be a mapping"):
        verify_webhook(wrong, BODY, SECRET)
    broken: Any = headers() | {"webhook-id": None, None: "x"}
    with pytest.raises(WebhookVerificationError, match="has no header webhook-id"):
        verify_webhook(broken, BODY, SECRET)


def test_the_error_for_a_wrong_secret_shows_neither_secret() -> None:
    with pytest.raises(WebhookVerificationError) as caught:
        verify_webhook(headers(), BODY, OTHER)
    assert str(caught.value) == "no signature of the webhook matches: another secret, or not the body as sent"


def test_the_function_verify_webhook_imports_no_third_party_package() -> None:
    script = (
        "import sys, replicate_job; replicate_job.verify_webhook; "
        "print([name for name in ('pyreqwest', 'msgspec', 'rich', 'click') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
