"""The files of every built-in model besides its code: schema, example, and a README that says what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from replicate_job.local.catalog.catalog import BUILT_IN, Catalog
from replicate_job.local.environment.schema import ensure_schema
from replicate_job.local.environment.venv import ensure_venv
from replicate_job.local.environment.workspace import Workspace
from replicate_job.serving.validation import Validator

if TYPE_CHECKING:
    from pathlib import Path

    from replicate_job.local.catalog.model import LocalModel

MODELS = Catalog().models()
PAINTERS = {"black-forest-labs/flux-schnell", "stability-ai/sdxl"}
named = pytest.mark.parametrize("model", MODELS, ids=[model.slug for model in MODELS])


def test_every_built_in_model_can_be_read() -> None:
    assert len(MODELS) == len(list(BUILT_IN.glob("*/*/cog.yaml"))) >= 10


@named
async def test_the_shipped_schema_equals_that_of_the_code(
    model: LocalModel, cache: Path, tmp_path: Path, models: dict[str, LocalModel]
) -> None:
    """All models except the painters can be read in an environment with nothing but Cog."""
    needed = model if model.slug in PAINTERS else models["replicate/hello-world"]
    venv = await ensure_venv(needed, cache / "venvs", lambda _: None)
    workspace = Workspace(model, venv, cache / "workspaces" / model.version)
    workspace.make()
    document = await ensure_schema(workspace, tmp_path)
    assert msgspec.json.decode((model.folder / "openapi.json").read_bytes()) == document


@named
def test_the_example_is_a_valid_input(model: LocalModel) -> None:
    assert model.example
    document = msgspec.json.decode((model.folder / "openapi.json").read_bytes())
    Validator(document).check(model.example)
    known = document["components"]["schemas"]["Input"]["properties"]
    assert model.example.keys() <= known.keys()


@named
def test_the_readme_says_what_the_model_is_and_how_much_it_downloads(model: LocalModel) -> None:
    assert (model.folder / "about.toml").is_file()
    number, unit = model.size.split(" ")
    assert (number.isdecimal(), unit) == (True, "MB")
    assert 20 < len(model.description) < 300
    real = {"replicate/hello-world", "nightmareai/real-esrgan"}
    assert model.stands_in == (model.slug not in real)


@pytest.fixture
def models() -> dict[str, LocalModel]:
    return {model.slug: model for model in MODELS}
