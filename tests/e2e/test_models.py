"""``replicate-job models``: the models that this machine can run, printed for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Command

CONFIG = 'predict: "predict.py:Predictor"\n'


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's folder with a model."""
    folder = tmp_path / "models" / "me" / "mine"
    folder.mkdir(parents=True)
    (folder / "cog.yaml").write_text(CONFIG)
    (folder / "predict.py").touch()
    (folder / "README.md").write_text("# Mine\n\nDoes \x1b[31mwhat\nit can.\n")
    return tmp_path / "models"


def listed(command: Command, *words: Any) -> list[dict[str, Any]]:
    return msgspec.json.decode(command("models", "--json", *words).out, type=list[dict[str, Any]])


def test_a_pipe_gets_one_line_for_each_model_with_aligned_columns(command: Command) -> None:
    outcome = command("models")
    assert (outcome.code, outcome.err) == (0, "")
    heading, *lines = outcome.out.decode().splitlines()
    models = listed(command)
    assert len(lines) == len(models) > 0
    places = [heading.index(title) for title in ("MODEL", "KIND", "SIZE", "WHAT IT IS")]
    for line, model in zip(lines, models, strict=True):
        cells = [line[start:end].strip() for start, end in zip(places, [*places[1:], None], strict=True)]
        assert cells == [model["model"], model["kind"], model["size"], model["description"]]
        assert "\t" not in line


@pytest.mark.parametrize("width", [60, 80, 160])
def test_on_a_terminal_each_description_is_below_the_models_name_and_fits_the_width(
    command: Command, width: int
) -> None:
    lines = command.on_terminal("models", width=width).out.decode().splitlines()
    assert max(map(len, lines)) <= width
    shown = [line for line in lines if not line.startswith("  ")]
    models = listed(command)
    assert [line.split()[0] for line in shown] == ["MODEL", *(model["model"] for model in models)]
    notes = " ".join(" ".join(line.split()) for line in lines if line.startswith("  "))
    assert notes == " ".join(model["description"] for model in models)


def test_models_of_the_user_are_marked_and_cannot_control_the_terminal(command: Command, own: Path) -> None:
    (mine,) = [model for model in listed(command, own) if model["model"] == "me/mine"]
    assert (mine["kind"], mine["size"], mine["stands_in"]) == ("yours", "", False)
    assert mine["folder"] == str(own / "me" / "mine")
    assert "me/mine" not in {model["model"] for model in listed(command)}
    assert rb"Does \u001b[31mwhat it can." in command.on_terminal("models", own).out
    assert b"Does \x1b[31mwhat it can." in command("models", own).out  # a pipe gets what there is


def test_every_built_in_model_says_what_it_is_and_how_much_it_downloads(command: Command) -> None:
    models = listed(command)
    assert models
    for model in models:
        assert model["description"], model
        assert model["size"].endswith(" MB"), model
        assert model["kind"] in {"official", "community"}
        assert model["stands_in"] == model["description"].startswith("A stand-in, not ")


def test_an_unreadable_model_is_reported_and_hides_no_other(command: Command, own: Path) -> None:
    config = own / "me" / "torn" / "cog.yaml"
    config.parent.mkdir()
    config.write_text("build: {}\n")
    outcome = command("models", own)
    assert outcome.code == 0
    assert outcome.error.startswith(f"warning: {config} names no predictor")
    assert b"\nme/mine " in outcome.out
    assert b"me/torn" not in outcome.out


def test_a_missing_folder_is_a_usage_error(command: Command) -> None:
    outcome = command("models", "nowhere")
    assert (outcome.code, outcome.out) == (2, b"")
    assert "nowhere" in outcome.err.splitlines()[-1]
