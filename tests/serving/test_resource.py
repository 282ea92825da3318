from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest

from replicate_job.serving.resource import (
    account_body,
    deployment_body,
    file_body,
    iso,
    model_body,
    page_body,
    prediction_body,
    prediction_urls,
    version_body,
)

PREDICTION: dict[str, Any] = {
    "id": "a",
    "model": "me/x",
    "version": "hidden",
    "input": {"n": 1},
    "status": "starting",
    "created_at": 0.5,
    "urls": {},
}


def test_times_are_written_with_microseconds_in_utc() -> None:
    assert iso(0.5) == "1970-01-01T00:00:00.500000Z"
    now = round(time.time(), 6)
    assert datetime.fromisoformat(iso(now)).timestamp() == pytest.approx(now, abs=1e-6)


def test_a_new_prediction_has_all_required_fields_and_no_later_times() -> None:
    assert prediction_body(**PREDICTION) == {
        "id": "a",
        "model": "me/x",
        "version": "hidden",
        "input": {"n": 1},
        "logs": "",
        "output": None,
        "data_removed": False,
        "error": None,
        "source": "api",
        "status": "starting",
        "created_at": iso(0.5),
        "urls": {},
    }


def test_an_ended_prediction_has_its_times_and_metrics() -> None:
    body = prediction_body(
        **PREDICTION, started_at=1, completed_at=2, deadline=3, metrics={"total_time": 1.5}, deployment="me/d"
    )
    assert [body[name] for name in ("started_at", "completed_at", "deadline")] == [iso(1), iso(2), iso(3)]
    assert (body["metrics"], body["deployment"]) == ({"total_time": 1.5}, "me/d")


def test_removed_data_of_a_prediction_are_not_in_its_body() -> None:
    body = prediction_body(**PREDICTION, output="x", logs="y", data_removed=True)
    assert (body["input"], body["output"], body["logs"], body["data_removed"]) == ({}, None, "", True)


def test_without_a_stream_origin_a_prediction_has_no_stream_url() -> None:
    urls = prediction_urls("a", api="http://api", web="http://web")
    own = "http://api/v1/predictions/a"
    assert urls == {"web": "http://web/p/a", "get": own, "cancel": f"{own}/cancel"}
    assert prediction_urls("a", api="", web="", stream="http://s")["stream"] == "http://s/stream/a"


def test_a_model_has_its_latest_version_and_null_for_unknown_fields() -> None:
    version = version_body("v", created_at=0, cog_version="0.16.0", openapi_schema=None)
    assert version == {"id": "v", "created_at": iso(0), "cog_version": "0.16.0", "openapi_schema": None}
    body = model_body("me/x", web="http://web", latest_version=version, is_official=True)
    assert (body["url"], body["owner"], body["name"], body["is_official"]) == ("http://web/me/x", "me", "x", True)
    assert body["latest_version"] == version
    assert {name for name, value in body.items() if value is None} == {
        "description",
        "github_url",
        "paper_url",
        "license_url",
        "cover_image_url",
        "default_example",
    }


def test_a_deployment_shows_its_release_and_its_creator() -> None:
    account = account_body("me", "Me")
    body = deployment_body("me/d", model="me/x", version="v", created_at=0, created_by=account, max_instances=3)
    assert (body["owner"], body["name"]) == ("me", "d")
    release = body["current_release"]
    assert (release["number"], release["model"], release["version"], release["created_by"]) == (1, "me/x", "v", account)
    assert release["configuration"] == {"hardware": "cpu", "min_instances": 0, "max_instances": 3}


def test_a_file_has_its_checksum_expiry_and_url() -> None:
    facts: dict[str, Any] = {"id": "f", "name": "a.png", "content_type": "image/png", "size": 2, "sha256": "00ff"}
    body = file_body(**facts, metadata={"n": 1}, created_at=0, expires_at=60, api="http://api")
    assert (body["checksums"], body["urls"]) == ({"sha256": "00ff"}, {"get": "http://api/v1/files/f"})
    assert (body["created_at"], body["expires_at"], body["metadata"]) == (iso(0), iso(60), {"n": 1})
    assert isinstance(body["etag"], str)


def test_a_page_links_to_its_neighbours_or_null() -> None:
    assert page_body([1]) == {"next": None, "previous": None, "results": [1]}
    assert page_body([], next="http://n", previous="http://p")["previous"] == "http://p"
