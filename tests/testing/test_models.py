from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from PIL import Image

from replicate_job.testing import ScriptedAPI, ScriptedModel, openapi_schema
from replicate_job.testing.models import DEFAULT_MODELS, FILE, IMAGE

Ask = Callable[..., Any]
HELLO = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


def test_an_openapi_schema_is_made_as_cog_makes_it() -> None:
    schemas = openapi_schema(
        {"prompt": {"type": "string"}, "size": {"enum": ["s", "m"], "default": "s"}}, FILE, required=["prompt"]
    )["components"]["schemas"]
    assert schemas["Input"]["required"] == ["prompt"]
    assert schemas["Input"]["properties"]["prompt"] == {"title": "Prompt", "x-order": 0, "type": "string"}
    assert schemas["Input"]["properties"]["size"] == {
        "title": "Size",
        "x-order": 1,
        "default": "s",
        "allOf": [{"$ref": "#/components/schemas/size"}],
    }
    assert schemas["size"] == {"type": "string", "enum": ["s", "m"], "title": "size", "description": "An enumeration."}
    assert schemas["Output"] == {"title": "Output", "type": "string", "format": "uri"}


def test_every_default_model_can_be_requested_and_shows_whether_it_is_official(api: ScriptedAPI, ask: Ask) -> None:
    for model in DEFAULT_MODELS:
        body = ask(api, "GET", f"/v1/models/{model.name}").json
        assert f"{body['owner']}/{body['name']}" == model.name
        assert body["is_official"] is model.official
        assert body["visibility"] == ("private" if model.name == "acme/private" else "public")
    assert ask(api, "GET", "/v1/models/acme/nothing").status == 404


def test_only_a_community_model_lists_its_versions(api: ScriptedAPI, ask: Ask) -> None:
    latest = ask(api, "GET", "/v1/models/replicate/hello-world").json["latest_version"]
    assert latest["id"] == HELLO
    assert latest == ask(api, "GET", f"/v1/models/replicate/hello-world/versions/{HELLO}").json
    assert ask(api, "GET", "/v1/models/replicate/hello-world/versions").json["results"] == [latest]
    for path in ("versions", f"versions/{HELLO}"):
        assert ask(api, "GET", f"/v1/models/black-forest-labs/flux-schnell/{path}").status == 404


def test_a_private_model_can_hide_its_version_and_schema(api: ScriptedAPI, ask: Ask) -> None:
    assert ask(api, "GET", "/v1/models/acme/private").json["latest_version"] is None
    api.models["acme/bare"] = ScriptedModel(name="acme/bare", versions=(HELLO,))
    latest = ask(api, "GET", "/v1/models/acme/bare").json["latest_version"]
    assert (latest["id"], latest["openapi_schema"]) == (HELLO, None)


def test_a_deployment_names_its_model_and_version(api: ScriptedAPI, ask: Ask) -> None:
    body = ask(api, "GET", "/v1/deployments/acme/flux").json
    assert (body["owner"], body["name"]) == ("acme", "flux")
    assert body["current_release"]["model"] == "black-forest-labs/flux-schnell"
    assert len(body["current_release"]["version"]) == 64
    assert ask(api, "GET", "/v1/deployments/acme/nothing").status == 404


def test_the_image_of_the_default_models_is_a_valid_webp() -> None:
    with Image.open(io.BytesIO(IMAGE)) as image:
        image.load()
        assert (image.format, image.size) == ("WEBP", (1, 1))
