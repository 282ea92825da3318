"""The upscaler enlarges any picture without visible seams, and logs inputs that it does not follow."""

from __future__ import annotations

import base64
import importlib.util
import io
import re
import tempfile
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.local.catalog.catalog import BUILT_IN
from replicate_job.local.catalog.model import read_model
from replicate_job.local.environment.process import run as run_program
from replicate_job.local.environment.venv import ensure_venv, model_environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

np: Any = pytest.importorskip("numpy")
Image: Any = pytest.importorskip("PIL.Image")

NAME = "nightmareai/real-esrgan"
FOLDER = BUILT_IN / NAME
SEAMS = """
import sys
from dataclasses import replace

import numpy as np
from network import FAST, FINE
from PIL import Image
from tiles import enlarge

given = np.asarray(Image.open(sys.argv[1]))
for network in (FAST, FINE):
    whole = network(given).astype(int)
    for margin in (network.margin, 0):
        tiled = enlarge(given, replace(network, tile=32, margin=margin), 4, lambda *_: None)
        print(*np.percentile(abs(tiled - whole), (100, 99)))
"""
"""Runs in the model's own environment. It measures how much tiles differ from the whole, with and without a margin."""


def module(name: str) -> ModuleType:
    """Import one of the model's modules under a unique name, because other models have modules of the same name."""
    spec = importlib.util.spec_from_file_location(f"real_esrgan_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


tiles, picture = module("tiles"), module("picture")


class Blur:
    """Replaces a network. A pixel of its result is the sum of all pixels up to ``margin`` away."""

    def __init__(self, tile: int, margin: int) -> None:
        self.tile, self.margin = tile, margin
        self.seen: set[tuple[int, ...]] = set()

    def __call__(self, part: Any) -> Any:
        self.seen.add(part.shape)
        reach = range(2 * self.margin + 1)
        wide = np.pad(part, ((self.margin, self.margin), (self.margin, self.margin), (0, 0)))
        height, width, _ = part.shape
        blurred = sum(wide[down : down + height, right : right + width] for down in reach for right in reach)
        return blurred.astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(4, 12), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_tiles_give_the_same_result_as_the_whole_picture(
    height: int, width: int, tile: int, margin: int, seed: int
) -> None:
    given = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    network, done = Blur(tile, margin), []
    made = tiles.enlarge(given, network, 4, lambda part, total: done.append((part, total)))
    assert (made == Blur(tile, margin)(given)).all()
    total = -(-height // tile) * -(-width // tile)
    assert done == [(part, total) for part in range(total + 1)]
    assert len(network.seen) == 1
    assert max(network.seen.pop()[:2]) <= tile + 2 * margin


def saved(image: Any, kind: str = "PNG", **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return io.BytesIO(file.getvalue())


def test_every_picture_mode_is_converted_to_l_la_rgb_or_rgba() -> None:
    rainbow = Image.radial_gradient("L").resize((8, 4))
    assert picture.read(saved(rainbow)).mode == "L"
    assert picture.read(saved(rainbow.convert("1"))).mode == "L"
    assert picture.read(saved(rainbow.convert("LA"))).mode == "LA"
    assert picture.read(saved(rainbow.convert("RGB").quantize(4), transparency=0)).mode == "RGBA"
    assert picture.read(saved(rainbow.convert("RGB").quantize(4))).mode == "RGB"
    assert picture.read(saved(rainbow.convert("CMYK"), "JPEG")).mode == "RGB"
    deep = Image.fromarray(np.array([[0, 65535, 32768]], dtype=np.uint16))
    assert np.asarray(picture.read(saved(deep))).tolist() == [[0, 255, 128]]


def test_a_picture_is_rotated_by_its_exif_orientation() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    assert picture.read(saved(Image.new("RGB", (8, 4)), "JPEG", exif=turned)).size == (4, 8)


def test_a_colour_profile_is_kept_if_the_colours_are_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for mode, kind, kept in (("RGB", "PNG", b"profile"), ("CMYK", "JPEG", None)):
        read = picture.read(saved(Image.new(mode, (8, 4)), kind, icc_profile=b"profile"))
        with Image.open(picture.write(read)) as written:
            assert written.info.get("icc_profile") == kept


def test_too_many_pixels_are_refused_with_the_real_models_error() -> None:
    said = (
        "Input image of dimensions (1800, 1900, 3) has a total number of pixels 3420000 greater than the max size that "
        "fits in GPU memory on this hardware, 2096704. Resize input image and try again."
    )
    with pytest.raises(ValueError, match=re.escape(said)):
        picture.read(saved(Image.new("RGB", (1900, 1800))))
    assert picture.read(saved(Image.new("L", (1448, 1448)))).size == (1448, 1448)  # 2,096,704 pixels
    with pytest.raises(ValueError, match=r"^image is not a picture that can be read$"):
        picture.read(io.BytesIO(b"<svg/>"))


def test_the_inputs_are_those_of_the_real_model_in_their_order(inputs: Callable[[str], list[str]]) -> None:
    assert inputs(NAME) == ["image", "scale", "face_enhance"]


def example() -> Any:
    content = msgspec.json.decode((FOLDER / "example.json").read_bytes())["input"]["image"]
    return Image.open(io.BytesIO(base64.b64decode(content.partition(",")[2]))).convert("RGB")


def data_url(image: Any) -> str:
    return f"data:image/png;base64,{base64.b64encode(saved(image).getvalue()).decode()}"


async def test_tiles_have_no_visible_seams_with_the_real_networks(cache: Path, tmp_path: Path) -> None:
    """With a margin, the fast network has no seams and the fine one hardly any. Without one, both have seams."""
    model = read_model(FOLDER)
    venv = await ensure_venv(model, cache / "venvs", lambda _: None)
    example().crop((0, 0, 64, 24)).save(tmp_path / "in.png")
    command = [str(venv / "bin" / "python"), "-c", SEAMS, str(tmp_path / "in.png")]
    code, said = await run_program(command, model_environment(venv, model.environment), FOLDER)
    assert code == 0, said
    fast, fast_bare, fine, fine_bare = ([float(part) for part in line.split()] for line in said.splitlines())
    assert fast[0] <= 1
    assert fast_bare[0] > 10
    assert fine[1] <= 6
    assert fine_bare[1] > 10


async def test_pictures_are_enlarged_and_ignored_inputs_are_logged(running: Callable[[str], Any]) -> None:
    """It uses one server for all checks, because starting one takes a second."""
    async with running(NAME) as model:

        async def made(prediction: Any) -> Any:
            assert prediction["status"] == "succeeded", prediction
            assert prediction["output"].endswith(".png")
            answer = await model.api.request("GET", prediction["output"])
            return Image.open(io.BytesIO(bytes(await answer.bytes())))

        small = example().resize((32, 24))
        ended = await model(image=data_url(small))
        large = await made(ended)
        assert (large.size, large.mode) == ((128, 96), "RGB")
        assert abs(np.asarray(large.resize((32, 24))).astype(int) - np.asarray(small)).mean() < 12
        said = ended["logs"].splitlines()
        assert "Network: realesrgan-x4plus, as on Replicate" in said
        assert "From 32x24 to 128x96 pixels" in said
        assert [line.split("|")[2].split()[0] for line in said if "%|" in line] == ["0/1", "1/1"]
        assert "face_enhance" not in ended["logs"]

        small.putalpha(Image.linear_gradient("L").resize((32, 24)))
        ended = await model(image=data_url(small), scale=1.5, face_enhance=True)
        large = await made(ended)
        assert (large.size, large.mode) == ((48, 36), "RGBA")
        expected = np.asarray(Image.linear_gradient("L").resize((48, 36))).astype(int)
        assert abs(np.asarray(large.getchannel("A")) - expected).max() < 10
        assert "face_enhance has no effect here: GFPGAN is not part of this model\n" in ended["logs"]
        assert (await made(await model(image=data_url(small.convert("L")), scale=0.5))).mode == "L"

        ended = await model(image=data_url(example().resize((300, 220))))
        assert (await made(ended)).size == (1200, 880)
        said = ended["logs"].splitlines()
        assert any(line.startswith("Network: realesr-animevideov3-x4, Real-ESRGAN's fast one.") for line in said)
        assert [line.split("|")[2].split()[0] for line in said if "%|" in line] == ["0/2", "1/2", "2/2"]

        assert (await model.failure(image=data_url(Image.new("L", (1900, 1800))))).startswith(
            "Input image of dimensions (1800, 1900, 1) has a total number of pixels 3420000 greater than the max size"
        )
        nothing = "scale 0.01 leaves nothing of a picture of 32x24 pixels"
        assert await model.failure(image=data_url(small), scale=0.01) == nothing
        assert (await model(image=data_url(small), scale=11))["status"] == 422
