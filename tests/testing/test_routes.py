"""Details of the scripted API's endpoints that are the same as in the local server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from replicate_job.testing import ScriptedAPI, ScriptedDeployment, ScriptedModel

Create = Callable[..., Any]
Ask = Callable[..., Any]
ALL = "/v1/predictions"
NAMED = "/v1/models/acme/private/predictions"
VERSION = "a" * 64


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", ALL, "GET, POST"),
        ("GET", f"{ALL}/none/cancel", "POST"),
        ("PUT", "/v1/files/none", "DELETE, GET"),
        ("POST", "/v1/account", "GET"),
    ],
)
def test_an_unsupported_method_is_a_405_with_the_allowed_ones(
    api: ScriptedAPI, ask: Ask, method: str, path: str, allowed: str
) -> None:
    reply = ask(api, method, path)
    assert (reply.status, reply.headers["allow"]) == (405, allowed)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json == {"detail": f'Method "{method}" not allowed.', "status": 405}


@pytest.mark.parametrize("cursor", ["nonsense", "5", "%C2%B2", "%00", "A" * 5000, "bzEuMA"])
def test_a_malformed_cursor_is_refused(api: ScriptedAPI, create: Create, ask: Ask, cursor: str) -> None:
    create(api)
    reply = ask(api, "GET", f"{ALL}?cursor={cursor}")
    assert (reply.status, reply.json["detail"]) == (400, "Invalid cursor")


def test_pages_link_both_ways_and_keep_the_time_filters(api: ScriptedAPI, create: Create, ask: Ask) -> None:
    made = [create(api) for _ in range(205)]
    query = f"created_after={made[2]['created_at']}&created_before={made[204]['created_at']}"
    first = ask(api, "GET", f"{ALL}?{query}").json
    second = ask(api, "GET", first["next"]).json
    third = ask(api, "GET", second["next"]).json
    listed = [[item["id"] for item in page["results"]] for page in (first, second, third)]
    newest = [item["id"] for item in made[2:204]][::-1]
    assert listed == [newest[:100], newest[100:200], newest[200:]]
    assert (first["previous"], third["next"]) == (None, None)
    assert [item["id"] for item in ask(api, "GET", third["previous"]).json["results"]] == listed[1]
    assert [item["id"] for item in ask(api, "GET", second["previous"]).json["results"]] == listed[0]


@pytest.mark.parametrize("path", [ALL, NAMED, "/v1/deployments/acme/flux/predictions"])
def test_the_response_to_a_create_request_has_a_location(api: ScriptedAPI, ask: Ask, path: str) -> None:
    body = {"input": {"prompt": "a"}} | ({"version": "acme/private"} if path == ALL else {})
    for held in ({}, {"Prefer": "wait"}):
        reply = ask(api, "POST", path, body, **held)
        assert (reply.status, reply.headers["location"]) == (201, reply.json["urls"]["get"])


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"webhook": 5}, "webhook"),
        ({"webhook": "nowhere"}, "webhook"),
        ({"webhook": "ftp://a/b"}, "webhook"),
        ({"webhook_events_filter": "x"}, "webhook_events_filter"),
        ({"webhook_events_filter": ["end"]}, "webhook_events_filter"),
        ({"webhook_events_filter": [[]]}, "webhook_events_filter"),
    ],
)
def test_a_webhook_that_cannot_be_sent_is_refused_and_nothing_is_created(
    api: ScriptedAPI, ask: Ask, facts: dict[str, Any], field: str
) -> None:
    reply = ask(api, "POST", NAMED, {"input": {}} | facts)
    assert (reply.status, [each["field"] for each in reply.json["invalid_fields"]]) == (422, [field])
    assert api.predictions == []


@pytest.mark.parametrize("path", [NAMED, "/v1/deployments/acme/flux/predictions"])
def test_a_create_request_by_name_must_not_have_a_version(api: ScriptedAPI, ask: Ask, path: str) -> None:
    reply = ask(api, "POST", path, {"version": VERSION, "input": {"prompt": "a"}})
    assert (reply.status, reply.json["detail"]) == (422, "- Additional property version is not allowed\n")


@pytest.mark.parametrize("scheme", ["bearer", "TOKEN"])
def test_the_scheme_of_the_token_may_be_written_in_any_case(api: ScriptedAPI, ask: Ask, scheme: str) -> None:
    assert ask(api, "GET", "/v1/account", Authorization=f"{scheme} {api.token}").status == 200


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (ALL, VERSION),
        (ALL, f"acme/official:{VERSION}"),
        (ALL, "acme/official"),
        ("/v1/models/acme/official/predictions", None),
        ("/v1/deployments/acme/own/predictions", None),
    ],
)
def test_an_official_model_hides_its_version_on_every_path(ask: Ask, path: str, named: str | None) -> None:
    model = ScriptedModel(name="acme/official", official=True, versions=(VERSION,))
    with ScriptedAPI(model, deployments=[ScriptedDeployment(name="acme/own", model="acme/official")]) as api:
        reply = ask(api, "POST", path, {"input": {}} | ({"version": named} if named else {}))
        assert (reply.status, reply.json["version"]) == (201, "hidden")


@pytest.mark.parametrize(
    "named", ["https://replicate.com/acme/private", " acme/private", "acme/private/", "deployments/acme/flux"]
)
def test_a_malformed_version_is_refused(api: ScriptedAPI, ask: Ask, named: str) -> None:
    reply = ask(api, "POST", ALL, {"version": named, "input": {}})
    assert (reply.status, reply.json["title"]) == (422, "Invalid version or not permitted")


def test_a_head_request_gets_the_response_of_a_get_without_the_body(api: ScriptedAPI, ask: Ask) -> None:
    head, get = ask(api, "HEAD", ALL), ask(api, "GET", ALL)
    assert (head.status, head.headers["content-length"], head.body) == (200, get.headers["content-length"], b"")


def test_an_unknown_file_gets_the_404_response_for_files(api: ScriptedAPI, ask: Ask) -> None:
    for method in ("GET", "DELETE"):
        reply = ask(api, method, "/v1/files/none")
        assert (reply.status, reply.json) == (404, {"detail": "File not found", "status": 404})
        assert reply.headers["content-type"] == "application/problem+json"
