"""The painter paints the words that its log calls painted, makes a card of other prompts, and obeys seeds and sizes."""

# ruff: noqa: E402 - the painter needs numpy, a font and Pillow, which may be missing

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

np: Any = pytest.importorskip("numpy")
pytest.importorskip("font_source_sans_pro")
Image: Any = pytest.importorskip("PIL.Image")

from painter import card, scene, studio, typeset
from painter.landscape import STAGES, paint

pytestmark = pytest.mark.long
LAKE = "A serene mountain landscape at sunset with a lake reflection"
CITY = "A city at night in the rain"


ORDINARY = [
    "a product shot of a perfume bottle on a beach at sunset", "a red car on a road in the mountains",
    "An astronaut riding a rainbow unicorn by a lake", "portrait of a woman in a forest", "a fox",
    "a lighthouse at night",
    "the Golden Gate Bridge in fog", "a mountain bike", "sunrise and sunset over the sea", "stars at noon",
    "the sun at night", "a desert at noon", "mountains without snow", "Tokyo street by day", "a sunny city",
    "A cyberpunk city at night with neon lights", "aurora over the mountains", "a storm at sea", "birds over a lake",
    "green mountains", "a meadow with flowers", "a forest in falling snow", "the moon at noon", "stars over a city",
    "two lakes", "green hills in black and white", "a snowy autumn forest", "city lights at noon", "an autumn lake",
    "horses in a meadow",
    "a lake by the sea", "ships on a stormy sea", "a castle on a hill", "", "photo", "red", "vivid", "calm",
    "a drone over a lake", "夕日の海",
]  # fmt: skip
"""Prompts that ask for something that the painter can't paint."""
INHERENT = {
    "trees",
    "mountains",
    "sea",
    "hills",
    "forest",
    "city",
    "lake",
    "water",
    "waves",
    "calm",
    "valley",
    "windows",
    "lights",
    "grass",
}
"""Things that may be in a place without being asked for, unless something clashes with them."""


@cache
def painted(prompt: str, seed: int = 1, width: int = 336, height: int = 192) -> Any:
    """Paint a small picture, as floats from 0 to 1."""
    return pixels(place(prompt), seed, width, height)


def place(prompt: str) -> scene.Scene:
    """The scene that a prompt asks for. The painter must be able to paint it."""
    found = scene.read(prompt).scene
    assert found
    return found


def pixels(asked: Any, seed: int = 1, width: int = 336, height: int = 192) -> Any:
    *_, picture = paint(asked, width, height, seed)
    assert picture is not None
    return np.asarray(picture, dtype=np.float32) / 255


@pytest.mark.parametrize(
    ("prompt", "ground", "hour"),
    [
        (LAKE, "mountains", "sunset"),
        (CITY, "city", "night"),
        ("ocean waves, dusk", "sea", "dusk"),
        ("a city skyline at golden hour", "city", "sunset"),
        ("Misty pine forest at dawn", "forest", "sunrise"),
        ("green hills in the morning", "hills", "day"),
        ("a full moon", "hills", "night"),
        ("snow", "hills", None),
        ("autumn forest", "forest", None),
        ("autumn leaves", "forest", None),
        ("city lights", "city", "night"),
        ("snow on the mountains, trees", "mountains", None),
        ("trees", "forest", None),
        ("a mountain range on a sunny day", "mountains", "day"),
    ],
)
def test_the_prompt_chooses_the_landscape_and_the_time_of_day(prompt: str, ground: str, hour: str | None) -> None:
    read = scene.read(prompt)
    assert read.scene is not None
    assert read.scene.ground == ground
    assert hour in (None, read.scene.hour)
    assert read.missed == ()


@pytest.mark.parametrize("prompt", ORDINARY)
def test_a_prompt_with_a_word_that_is_not_painted_becomes_a_card(
    prompt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    read = scene.read(prompt)
    assert read.scene is None
    assert read.painted == ()
    studio.describe(read)
    said = capsys.readouterr().out
    assert said.startswith("Stand-in: a card: ")
    assert said.count("\n") == 1


def test_a_card_gives_the_words_that_cannot_be_painted_as_its_reason() -> None:
    assert scene.read("An astronaut riding a unicorn by a lake").missed == ("astronaut", "riding", "unicorn")
    assert scene.read("car, lake").missed == ("car",)
    assert scene.read("stars over the sea at noon").missed == ("stars",)
    assert scene.read("Горы, 山 and a Köhlerhütte by the lake, 8k").missed == ("горы", "山", "köhlerhütte")


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("a red car by a lake", "it can't paint red, car"),
        ("stars over the sea at noon", "it can't paint stars together with the rest"),
        ("a car under stars by the sea at noon", "it can't paint car and it can't paint stars together with the rest"),
        ("the sea above the clouds", "it can't paint above the clouds"),
        ("", "the prompt names no place that it paints"),
        ("a vivid photo, 8k", "the prompt names no place that it paints"),
    ],
)
def test_the_log_of_a_card_names_the_words_that_cannot_be_painted(
    prompt: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    studio.describe(scene.read(prompt))
    assert capsys.readouterr().out == f"Stand-in: a card: {reason}\n"


def test_words_match_as_whole_words_and_in_the_plural() -> None:
    assert place("stars over mountains").shows >= {"stars", "mountains"}
    assert scene.read("a starting line").missed == ("starting", "line")


@pytest.mark.parametrize(
    ("prompt", "painted", "left_out"),
    [
        ("oil painting of a mountain lake, 35mm", "mountain, lake", "oil, 35mm"),
        ("a mountain lake, view 1", "mountain, lake", "1"),
        ("a winter forest in heavy snow", "winter, forest, snow", "heavy"),
        ("a forest, 8k, highly detailed, beautiful photo", "forest", "8k, highly, detailed, beautiful, photo"),
        ("a serene forest", "forest", "serene"),
    ],
)
def test_words_about_style_make_no_card_and_are_all_logged_as_not_painted(
    prompt: str, painted: str, left_out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    studio.describe(scene.read(prompt))
    assert capsys.readouterr().out == f"Painted: {painted}\nStand-in: not painted: {left_out}\n"


@pytest.mark.long
@pytest.mark.parametrize(
    ("ground", "name"),
    [(ground, name) for ground, names in scene.GROUNDS.items() for name in sorted(names - INHERENT)],
)
def test_each_word_that_can_be_painted_in_a_scene_changes_its_picture(ground: str, name: str) -> None:
    """The log names the words in this table as painted, so each of them must change the picture."""
    plain = scene.Scene(ground, "night" if name in {"stars", "moon"} else "day", frozenset(), 7)
    if name in scene.HOURS:
        shown, other = replace(plain, hour=name), replace(plain, hour="night" if name == "day" else "day")
    else:
        around = {"moon"} & {name} and {"stars"}  # a night without stars always has a moon
        shown, other = replace(plain, shows=frozenset({name, *around})), replace(plain, shows=frozenset(around))
    for seed in (1, 2, 3):
        assert np.abs(pixels(shown, seed) - pixels(other, seed)).max() > 0.05


def test_the_negative_prompt_removes_optional_parts_of_a_scene() -> None:
    read = scene.read("mountains in the rain at night, stars", "rain, stars, blurry")
    assert read.scene
    assert read.scene.shows == {"mountains", "night"}
    assert (read.painted, read.missed) == (("mountains", "night"), ())


def test_a_negative_prompt_that_names_an_essential_part_of_a_scene_makes_a_card() -> None:
    read = scene.read("a mountain at noon", "snow, lake, blurry")
    assert read.scene is None
    assert read.missed == ("a place without lake", "a place without snow")


@pytest.mark.parametrize(
    "prompt",
    [
        "a city above the clouds",
        "a mountain range on the moon",
        "a city under the sea",
        "a sea of clouds",
        "a green sky over the hills",
    ],
)
def test_a_prompt_for_a_scene_in_unusual_surroundings_makes_a_card(prompt: str) -> None:
    assert scene.read(prompt).scene is None


def test_green_hills_are_always_painted_by_day() -> None:
    assert {scene.read(f"green hills{'!' * n}").scene.hour for n in range(9)} == {"day"}  # type: ignore[union-attr]
    assert scene.read("green hills at sunset").scene is None


def test_trees_are_in_front_of_mountains_and_a_forest_is_a_separate_place() -> None:
    trees, forest = scene.read("a lake with pines below a mountain"), scene.read("a mountain lake in a pine forest")
    assert trees.scene
    assert forest.scene is None


@pytest.mark.parametrize("prompt", [LAKE, CITY, "stars over snowy mountains", "foggy hills", "a sea at dusk"])
def test_the_same_seed_paints_the_same_pixels_and_another_seed_does_not(prompt: str) -> None:
    first = painted(prompt)
    assert np.array_equal(pixels(place(prompt)), first)
    assert np.abs(painted(prompt, seed=2) - first).mean() > 0.02


def test_each_stage_is_reported_before_the_picture() -> None:
    *stages, picture = paint(place(LAKE), 128, 96, 1)
    assert stages == [None] * (STAGES - 1)
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
    [("snowy hills", 0.03), ("snowy hills at sunset", 0.03), ("green hills", 0.12)],
)
def test_land_reaches_the_lower_edge_in_every_picture_shape(prompt: str, most: float, size: tuple[int, int]) -> None:
    """In the lowest fifth, no row differs from the next one across the whole width, as at the edge of water."""
    width, height = size
    for seed in (1, 7):
        lowest = painted(prompt, seed, width, height)[height * 4 // 5 :]
        steps = np.abs(np.median(np.diff(lowest, axis=0), axis=1)).max(axis=-1)
        assert steps.max() < most


@pytest.mark.parametrize("prompt", [LAKE, CITY, "snowy hills", "a forest at noon", "a sea at dusk"])
def test_fewer_steps_paint_more_coarsely(prompt: str) -> None:
    def fine(steps: int) -> float:
        [picture] = studio.pictures(scene.read(prompt), (336, 192), 1, 1, steps)
        return float(np.abs(np.diff(np.asarray(picture, dtype=np.float32), axis=1)).mean())

    assert fine(1) < fine(2) < fine(4)


def test_night_is_darker_than_day() -> None:
    assert painted("mountains at night").mean() < 0.55 * painted("mountains at noon").mean()


def test_a_city_has_lights_at_night_and_none_by_day() -> None:
    def lit(prompt: str) -> float:
        picture = painted(prompt, 1, 336, 336)[120:230]
        return float((picture.min(axis=-1) < picture.max(axis=-1) - 0.25).mean())

    assert painted("a city at night").mean() < 0.55 * painted("a city at noon").mean()
    assert lit("a city at night") > 2 * lit("a city at noon")


def test_black_and_white_has_no_colour() -> None:
    picture = painted("black and white photo of mountains")
    assert np.abs(picture.max(axis=-1) - picture.min(axis=-1)).max() < 0.01


def test_fog_lowers_the_contrast() -> None:
    assert painted("foggy pine forest").std() < 0.8 * painted("pine forest").std()


@pytest.mark.parametrize("size", [(64, 64), (640, 160), (96, 320)])
@pytest.mark.parametrize(
    "prompt",
    [
        "sea in the rain", "green hills", "snowy forest", "city in fog", "stars, mountains", "a perfume bottle",
        "supercalifragilisticexpialidocious", "夕日",
    ],
)  # fmt: skip
def test_every_subject_can_be_painted_in_every_picture_shape(prompt: str, size: tuple[int, int]) -> None:
    [picture] = studio.pictures(scene.read(prompt), size, 3, 1, 4)
    assert picture.size == size
    assert np.asarray(picture).std() > 5


def test_picture_files_differ_by_output_format_and_quality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    *_, picture = paint(place(LAKE), 160, 96, 1)
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


@pytest.mark.parametrize("steps", [1, 4, 50])
def test_the_log_counts_the_stages_that_are_painted_as_tqdm_does(
    steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = list(studio.pictures(scene.read(LAKE), (64, 64), 1, 2, steps))
    lines = capsys.readouterr().err.splitlines()
    assert len(pictures) == 2
    assert lines[0] == "  0%|          | 0/10 [00:00<?, ?it/s]"
    assert [line.split("|")[2].split()[0] for line in lines] == [f"{done}/10" for done in range(11)]
    assert lines[-1].startswith("100%|██████████| 10/10 [")


def test_the_log_of_a_card_counts_no_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list(studio.pictures(scene.read("a fox"), (64, 64), 1, 2, 4))) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("size", [(64, 64), (640, 160), (96, 320)])
@pytest.mark.parametrize("colour", ["black", "white", "#777"])
def test_every_saved_picture_has_a_signature_in_its_lower_left_corner(
    colour: str, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plain = Image.new("RGB", size, colour)
    with Image.open(studio.save(plain.copy(), "out-0.png", 80)) as opened:
        signed = np.asarray(opened, dtype=np.float32).mean(axis=-1)
    rows, columns = np.nonzero(np.abs(signed - np.asarray(plain.convert("L"), dtype=np.float32)) > 60)
    assert len(rows) > 20
    assert rows.min() > size[1] * 0.7
    assert columns.max() < size[0] * 0.75


def test_a_city_stands_in_water_only_where_the_prompt_names_it() -> None:
    """In water, the lowest rows show the towers upside down."""

    def mirrored(prompt: str, seed: int) -> float:
        picture = painted(prompt, seed).mean(axis=-1)
        return max(
            float(np.corrcoef(picture[row - 46 : row - 6].ravel(), picture[row + 6 : row + 46][::-1].ravel())[0, 1])
            for row in range(116, 142)
        )

    for seed in (1, 2, 3):
        assert mirrored("a city at noon, water", seed) > 0.3 > mirrored("a city at noon", seed)


def test_fog_in_a_forest_can_be_seen_at_night() -> None:
    for seed in (1, 2, 3):
        assert painted("a foggy forest at night", seed)[80:150].mean() > 0.2


def test_an_interruption_while_painting_reaches_the_caller() -> None:
    class StopPaintingError(BaseException):
        """Stands for Cog's cancellation, which is an exception that is raised in the running code."""

    painting = paint(place(LAKE), 64, 64, 1)
    next(painting)
    with pytest.raises(StopPaintingError):
        painting.throw(StopPaintingError())


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """The contrast of two colours as WCAG 2 defines it, 1 to 21."""

    def luminance(colour: tuple[int, int, int]) -> float:
        coded = np.array(colour) / 255
        linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
        return float(linear @ np.array([0.2126, 0.7152, 0.0722]))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_text_of_every_card_has_enough_contrast() -> None:
    """The contrast of the text with everything below it has level AAA of WCAG 2."""
    for seed in range(300):
        colours = card.scheme(seed)
        assert min(contrast(colours.ink, under) for under in (colours.paper, *colours.shapes)) >= 7


def test_cards_depend_only_on_prompt_and_seed() -> None:
    def made(prompt: str, seed: int) -> bytes:
        [picture] = studio.pictures(scene.read(prompt), (160, 120), seed, 1, 4)
        return bytes(picture.tobytes())

    assert made("a fox", 1) == made("a fox", 1)
    assert len({made("a fox", 1), made("a fox", 2), made("a cat", 1)}) == 3


@pytest.mark.long
@pytest.mark.parametrize(
    "text", ["a fox", "a product shot of a perfume bottle", "word " * 300, "x" * 500, "Übergrößen, naïve"]
)
@pytest.mark.parametrize("box", [(400, 300), (90, 500), (60, 40)])
def test_text_fits_into_its_box_or_is_cut_with_an_ellipsis(text: str, box: tuple[int, int]) -> None:
    text, missing = typeset.settable(text)
    assert missing == ""
    setting = typeset.fit(text, "Semibold", box, (9, 80))
    wide = typeset.font("Semibold", setting.size)
    assert setting.leading * len(setting.lines) <= box[1]
    assert all(wide.getlength(line) <= box[0] * 1.03 for line in setting.lines)
    shown = "".join(setting.lines).replace(" ", "")
    if setting.left:
        assert text.replace(" ", "").startswith(shown.removesuffix("…"))
        assert shown.endswith("…")
    else:
        assert shown == text.replace(" ", "")


def test_short_text_is_large_with_lines_of_similar_length() -> None:
    setting = typeset.fit("a product shot of a perfume bottle", "Semibold", (400, 400), (9, 90))
    assert setting.size > 50
    lengths = [typeset.font("Semibold", setting.size).getlength(line) for line in setting.lines]
    assert min(lengths) > 0.5 * max(lengths)


def test_letters_missing_from_the_font_are_counted_on_the_card_and_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        typeset.settable("夕日の海 with a नमस्ते 😀")[0]
        == "[4\u00a0characters] with a [6\u00a0characters] [1\u00a0character]"
    )
    assert typeset.settable("Жизнь, ελιά, Tiếng Việt, façade — 5 €\u0007") == (
        "Жизнь, ελιά, Tiếng Việt, façade — 5 €", "")  # fmt: skip
    list(studio.pictures(scene.read("夕日 with a boat"), (160, 120), 1, 2, 4))
    assert capsys.readouterr().out == "Stand-in: its font has no letters for 夕日\n"


def test_characters_without_room_on_a_card_are_counted_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    list(studio.pictures(scene.read("a cat " * 400), (128, 128), 1, 1, 4))
    assert "the card has no room for the last " in capsys.readouterr().out
