"""The upscaler enlarges any picture, in tiles that do not show, and says what it cannot do."""

from __future__ import annotations

import importlib.util
import io
import re
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.local.catalog.catalog import BUILT_IN

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

np: Any = pytest.importorskip("numpy")
Image: Any = pytest.importorskip("PIL.Image")

NAME = "nightmareai/real-esrgan"
FOLDER = BUILT_IN / NAME


def module(name: str) -> ModuleType:
    """One of the model's modules. Others of its names may be imported: it has a name of its own here."""
    spec = importlib.util.spec_from_file_location(f"real_esrgan_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


tiles, picture = module("tiles"), module("picture")


class Blur:
    """Stands for a network: a pixel of the result is the sum of all that lie up to ``margin`` around it."""

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
def test_tiles_give_what_the_whole_picture_would_give(
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


def test_every_kind_of_picture_is_read_as_grey_or_colour_with_or_without_transparency() -> None:
    rainbow = Image.radial_gradient("L").resize((8, 4))
    assert picture.read(saved(rainbow)).mode == "L"
    assert picture.read(saved(rainbow.convert("1"))).mode == "L"
    assert picture.read(saved(rainbow.convert("LA"))).mode == "LA"
    assert picture.read(saved(rainbow.convert("RGB").quantize(4), transparency=0)).mode == "RGBA"
    assert picture.read(saved(rainbow.convert("RGB").quantize(4))).mode == "RGB"
    assert picture.read(saved(rainbow.convert("CMYK"), "JPEG")).mode == "RGB"
    deep = Image.fromarray(np.array([[0, 65535, 32768]], dtype=np.uint16))
    assert np.asarray(picture.read(saved(deep))).tolist() == [[0, 255, 128]]


def test_a_picture_is_turned_upright() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    assert picture.read(saved(Image.new("RGB", (8, 4)), "JPEG", exif=turned)).size == (4, 8)


def test_a_colour_profile_is_kept_where_the_colours_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
