"""The painter reads prompts, obeys seeds and sizes, and its light is where the prompt says it is."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

np: Any = pytest.importorskip("numpy")
Image: Any = pytest.importorskip("PIL.Image")

sys.path.insert(0, str(Path(__file__).parents[3] / "src/replicate_job/local/models/_shared"))

from painter import land, relief, scene, studio  # type: ignore[import-not-found,unused-ignore] # noqa: E402 - found by the path above
from painter.paint import STAGES, paint  # type: ignore[import-not-found,unused-ignore] # noqa: E402
from painter.view import framed  # type: ignore[import-not-found,unused-ignore] # noqa: E402

LAKE = "A serene mountain landscape at sunset with a lake reflection"
NEON = "A cyberpunk city at night with neon lights"


@cache
def painted(prompt: str, seed: int = 1, width: int = 336, height: int = 192) -> Any:
    """Paint small, as floats from 0 to 1."""
    *_, picture = paint(scene.read(prompt), width, height, seed)
    assert picture is not None
    return np.asarray(picture, dtype=np.float32) / 255


@pytest.mark.parametrize(
    ("prompt", "ground", "hour"),
    [
        (LAKE, "mountains", "sunset"),
        (NEON, "street", "night"),
        ("sand dunes of the Sahara at noon", "dunes", "day"),
        ("stormy ocean waves, dusk", "sea", "dusk"),
        ("Misty pine forest at dawn", "forest", "sunrise"),
        ("the Manhattan skyline in the evening", "city", "sunset"),
        ("green hills in the morning", "hills", "morning"),
        ("a full moon", None, "night"),
    ],
)
def test_the_prompt_chooses_ground_and_hour(prompt: str, ground: str | None, hour: str) -> None:
    read = scene.read(prompt)
    assert read.hour == hour
    assert ground in (None, read.ground)


def test_words_match_whole_and_in_the_plural() -> None:
    assert "stars" in scene.read("stars over mountains").sights
    assert "stars" not in scene.read("a starting line").sights
    assert "rain" not in scene.read("a train in Spain").skies


def test_what_was_not_understood_is_told_apart() -> None:
    read = scene.read("An astronaut riding a rainbow unicorn by a lake")
    assert read.words == ("lake",)
    assert read.missed == ("astronaut", "riding", "rainbow", "unicorn")


def test_words_in_any_letters_are_told_and_so_are_numbers() -> None:
    read = scene.read("Горы, 山 and a Köhlerhütte by the lake, 8k")
    assert read.words == ("lake",)
    assert read.missed == ("горы", "山", "köhlerhütte")


@pytest.mark.parametrize("seed", [2, 5])
def test_the_skyline_of_dunes_has_no_teeth(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking ten times as closely finds no crest that was missed by as much as a pixel, of the usual 1024."""
    view, field = framed(1024, 256, 0.44, 0.42), relief.dunes(seed, 1.0)
    skyline = land.march(view, field, view.eye)[1].max(axis=0)
    monkeypatch.setattr(land, "_STEPS", 2400)
    assert np.abs(land.march(view, field, view.eye)[1].max(axis=0) - skyline).max() < 1


def test_two_pixels_at_a_crest_are_mixed_by_how_much_of_each_it_covers() -> None:
    """Rows upward: the crest lies between the second and the third; it ends 0.3 above the third's lower edge."""
    colours = np.array([[0.0], [0.0], [1.0], [1.0]], dtype=np.float32)[..., None]
    z = np.array([[1.0], [1.0], [2.0], [2.0]])
    for over, expected in ((0.3, [0, 0, 0.7, 1]), (-0.2, [0, 0.2, 1, 1])):
        mixed = colours.copy()
        land.smooth_crests(mixed, z, np.array([[0.0], [0.0], [over], [0.0]]))
        assert mixed.ravel() == pytest.approx(expected)
    level = colours.copy()
    land.smooth_crests(level, np.ones_like(z), np.full_like(z, 0.3))
    assert np.array_equal(level, colours)


def test_the_negative_prompt_takes_things_out() -> None:
    assert scene.read("snowy mountains, clouds", "snow, clouds").skies == frozenset()


def test_an_unknown_prompt_still_chooses_one_scene() -> None:
    assert scene.read("xyzzy") == scene.read("xyzzy")
    assert len({scene.read(f"xyzzy {n}").ground for n in range(40)}) > 3


@pytest.mark.parametrize("prompt", [LAKE, NEON, "aurora and stars over a snowy forest", "rain in the city"])
def test_the_same_seed_paints_the_same_pixels_and_another_seed_does_not(prompt: str) -> None:
    first = painted(prompt)
    *_, again = paint(scene.read(prompt), 336, 192, 1)
    assert np.array_equal(np.asarray(again, dtype=np.float32) / 255, first)
    assert np.abs(painted(prompt, seed=2) - first).mean() > 0.03


def test_each_stage_is_reported_before_the_picture() -> None:
    *stages, picture = paint(scene.read(LAKE), 128, 96, 1)
    assert stages == [None] * STAGES
    assert picture is not None
    assert picture.size == (128, 96)


def test_a_sunset_is_warm_at_the_horizon_and_cooler_above() -> None:
    for seed in range(1, 5):
        picture = painted(LAKE, seed)
        horizon, top = picture[78:92].mean(axis=(0, 1)), picture[:12].mean(axis=(0, 1))
        assert horizon[0] > horizon[2] * 1.15
        assert horizon[0] / horizon[2] > top[0] / top[2]


def test_the_lake_mirrors_the_sky_and_the_mountains() -> None:
    for seed in range(1, 5):
        picture = painted(LAKE, seed).mean(axis=-1)
        scores = {}
        for row in range(88, 125):
            span = 60
            above, below = picture[row - span : row - 14, 60:-60], picture[row + 14 : row + span, 60:-60][::-1]
            scores[row] = float(np.corrcoef(above.ravel(), below.ravel())[0, 1])
        assert max(scores.values()) > 0.5


@pytest.mark.parametrize(
    "size",
    [(128, 128), (168, 96), (192, 80), (152, 104), (104, 152), (112, 136), (112, 144), (96, 168), (80, 192), (64, 640)],
)
@pytest.mark.parametrize(
    ("prompt", "most"),
    [("dunes", 0.03), ("dunes at sunset", 0.03), ("a fox", 0.03), ("snowy hills", 0.03), ("green hills", 0.12)],
)
def test_dry_land_reaches_the_lower_edge_in_every_shape(prompt: str, most: float, size: tuple[int, int]) -> None:
    """No row of the lowest fifth is a step across the width from the next; blades of grass begin less sharply."""
    width, height = size
    for seed in (1, 7):
        lowest = painted(prompt, seed, width, height)[height * 4 // 5 :]
        steps = np.abs(np.median(np.diff(lowest, axis=0), axis=1)).max(axis=-1)
        assert steps.max() < most


def test_night_is_darker_than_day() -> None:
    assert painted("mountains at night").mean() < 0.55 * painted("mountains at noon").mean()


def test_neon_is_dark_with_saturated_lights() -> None:
    for seed in range(1, 4):
        picture = painted(NEON, seed)
        assert np.median(picture.mean(axis=-1)) < 0.3
        chroma = picture.max(axis=-1) - picture.min(axis=-1)
        assert np.percentile(chroma, 98) > 0.4
        lights = picture[chroma > 0.4]
        assert len(set(lights.argmax(axis=-1))) == 3, "red, green and blue lights"


def test_black_and_white_has_no_colour() -> None:
    picture = painted("black and white photo of mountains")
    assert np.abs(picture.max(axis=-1) - picture.min(axis=-1)).max() < 0.01


def test_fog_lowers_the_contrast() -> None:
    assert painted("foggy pine forest").std() < 0.8 * painted("pine forest").std()


@pytest.mark.parametrize("size", [(64, 64), (640, 160), (96, 320)])
@pytest.mark.parametrize(
    "prompt",
    [
        "lighthouse, boat, birds, storm at sea", "castle, house, person and flowers on hills in spring",
        "autumn forest in snow",
        "dunes under the moon", "tropical beach palms", "skyline at dusk", "street in rain", "aurora, stars, mountains",
    ],
)  # fmt: skip
def test_every_subject_fits_every_shape(prompt: str, size: tuple[int, int]) -> None:
    picture = painted(prompt, 3, *size)
    assert picture.shape == (size[1], size[0], 3)
    assert picture.std() > 0.02


def test_files_differ_by_format_and_quality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    *_, picture = paint(scene.read(LAKE), 160, 96, 1)
    assert picture is not None
    files = {
        (suffix, quality): studio.save(picture, f"out-0.{suffix}", quality)
        for suffix in ("webp", "jpg", "png") for quality in (10, 90)
    }  # fmt: skip
    for (suffix, _), path in files.items():
        with Image.open(path) as opened:
            assert opened.format == {"webp": "WEBP", "jpg": "JPEG", "png": "PNG"}[suffix]
    assert files["webp", 10].stat().st_size * 2 < files["webp", 90].stat().st_size
    assert files["jpg", 10].stat().st_size * 2 < files["jpg", 90].stat().st_size
    assert files["png", 10].read_bytes() == files["png", 90].read_bytes()


def test_the_log_counts_steps_as_tqdm_does(capsys: pytest.CaptureFixture[str]) -> None:
    pictures = list(studio.pictures(scene.read(LAKE), (64, 64), 1, 2, 4))
    lines = capsys.readouterr().err.splitlines()
    assert len(pictures) == 2
    assert lines[0] == "  0%|          | 0/4 [00:00<?, ?it/s]"
    assert [line.split("|")[2].split()[0] for line in lines] == ["0/4", "1/4", "2/4", "3/4", "4/4"]
    assert lines[-1].startswith("100%|██████████| 4/4 [")


def test_an_interruption_while_painting_reaches_the_caller() -> None:
    class StopPaintingError(BaseException):
        """Stands for Cog's cancelation, which is raised inside whatever runs."""

    painting = paint(scene.read(LAKE), 64, 64, 1)
    next(painting)
    with pytest.raises(StopPaintingError):
        painting.throw(StopPaintingError())
