"""The painter behind FLUX.1 [schnell]'s inputs (names, order, bounds and texts as published on Replicate)."""

# ruff: noqa: INP001, PLR0917 - a Cog model is a folder, not a package, and its inputs are positional defaults

from cog import BasePredictor, Input, Path
from log import ignored
from painter import studio
from painter.scene import read

SIZES = {
    "1:1": (1024, 1024),
    "16:9": (1344, 768),
    "21:9": (1536, 640),
    "3:2": (1216, 832),
    "2:3": (832, 1216),
    "4:5": (896, 1088),
    "5:4": (1088, 896),
    "3:4": (896, 1152),
    "4:3": (1152, 896),
    "9:16": (768, 1344),
    "9:21": (640, 1536),
}
"""Width and height at one megapixel, as in the real model (replicate/cog-flux). A quarter megapixel halves both."""

IGNORED = {"disable_safety_checker": False, "go_fast": True}
"""Maps inputs without effect here to their defaults. The log names the inputs that have another value."""


class Predictor(BasePredictor):
    def predict(  # noqa: PLR0913 - the inputs of the real model
        self,
        prompt: str = Input(description="Prompt for generated image"),
        aspect_ratio: str = Input(
            description="Aspect ratio for the generated image", choices=list(SIZES), default="1:1"
        ),
        num_outputs: int = Input(description="Number of outputs to generate", default=1, ge=1, le=4),
        num_inference_steps: int = Input(
            description="Number of denoising steps. 4 is recommended, and lower number of steps produce lower quality "
            "outputs, faster.",
            default=4,
            ge=1,
            le=4,
        ),
        seed: int = Input(description="Random seed. Set for reproducible generation", default=None),
        output_format: str = Input(
            description="Format of the output images", choices=["webp", "jpg", "png"], default="webp"
        ),
        output_quality: int = Input(
            description="Quality when saving the output images, from 0 to 100. 100 is best quality, 0 is lowest "
            "quality. Not relevant for .png outputs",
            default=80,
            ge=0,
            le=100,
        ),
        disable_safety_checker: bool = Input(  # noqa: FBT001 - an input of the real model
            description="Disable safety checker for generated images.", default=False
        ),
        go_fast: bool = Input(  # noqa: FBT001 - an input of the real model
            description="Run faster predictions with model optimized for speed (currently fp8 quantized); disable to "
            "run in original bf16",
            default=True,
        ),
        megapixels: str = Input(
            description="Approximate number of megapixels for generated image", choices=["1", "0.25"], default="1"
        ),
    ) -> list[Path]:
        """Paint the prompt."""
        given = locals()
        seed = studio.seeded(seed)
        ignored([name for name, default in IGNORED.items() if given[name] != default])
        request = read(prompt)
        studio.describe(request)
        width, height = SIZES[aspect_ratio]
        size = (width, height) if megapixels == "1" else (width // 2, height // 2)
        painted = studio.pictures(request, size, seed, num_outputs, num_inference_steps)
        return [
            Path(studio.save(picture, f"out-{number}.{output_format}", output_quality))
            for number, picture in enumerate(painted)
        ]
