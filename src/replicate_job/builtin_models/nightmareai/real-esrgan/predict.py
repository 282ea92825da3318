"""Real-ESRGAN behind the inputs of the model on Replicate (names, order, bounds and texts as published there)."""

# ruff: noqa: INP001, PLC0415, B008 - a Cog model is a folder, its inputs are also read without its libraries, and they
# are positional defaults

from cog import BasePredictor, Input, Path
from log import Progress, say
from network import FACTOR, FAST, FINE

FINE_UP_TO = 65_536
"""The real model's network is used for up to this many pixels, which take about 20 seconds on two cores. A megapixel
would take 5 minutes."""


class Predictor(BasePredictor):
    def setup(self) -> None:
        """Find the weights and check them. They are loaded when they are first needed."""
        for network in (FINE, FAST):
            say(f"Weights: {network.files[1].name}")

    def predict(
        self,
        image: Path = Input(description="Input image"),
        scale: float = Input(description="Factor to scale image by", ge=0, le=10, default=4),
        face_enhance: bool = Input(  # noqa: FBT001 - an input of the real model
            description="Run GFPGAN face enhancement along with upscaling", default=False
        ),
    ) -> Path:
        """Enlarge the picture by four, then resize the result to the requested scale."""
        import numpy as np
        from picture import read, write
        from PIL import Image
        from tiles import enlarge

        given = read(image)
        size = int(given.width * scale), int(given.height * scale)
        if not all(size):
            raise ValueError(f"scale {scale:g} leaves nothing of a picture of {given.width}x{given.height} pixels")
        if face_enhance:
            say("face_enhance has no effect here: GFPGAN is not part of this model")
        network = FINE if given.width * given.height <= FINE_UP_TO else FAST
        say(f"Network: {network.name}, {WHY[network.name]}")
        say(f"From {given.width}x{given.height} to {size[0]}x{size[1]} pixels")
        made = Image.fromarray(enlarge(np.asarray(given.convert("RGB")), network, FACTOR, Progress().show))
        made = made.convert("L") if given.mode.startswith("L") else made
        if made.size != size:
            made = made.resize(size, Image.Resampling.LANCZOS)
        if "A" in given.getbands():
            made.putalpha(given.getchannel("A").resize(size, Image.Resampling.LANCZOS))
        made.info["icc_profile"] = given.info.get("icc_profile")
        return Path(write(made))


WHY = {
    FINE.name: "as on Replicate",
    FAST.name: f"Real-ESRGAN's fast one. The model on Replicate uses {FINE.name}, which would take minutes on a "
    f"processor: here it is used up to {FINE_UP_TO:,} pixels",
}
