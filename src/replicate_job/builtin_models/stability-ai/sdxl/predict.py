"""The painter behind SDXL's inputs (names, order, bounds and texts as published on Replicate)."""

# ruff: noqa: INP001, B008, PLR0917 - a Cog model is a folder, not a package, and its inputs are positional defaults

from cog import BasePredictor, Input, Path
from log import ignored
from painter import studio
from painter.scene import read

IGNORED = {
    "scheduler": "K_EULER",
    "guidance_scale": 7.5,
    "refine": "no_refiner",
    "high_noise_frac": 0.8,
    "refine_steps": None,
    "apply_watermark": True,
    "lora_scale": 0.6,
    "replicate_weights": None,
    "disable_safety_checker": False,
}
"""Maps inputs without effect here to their defaults. The log names the inputs that have another value."""


class Predictor(BasePredictor):
    def predict(  # noqa: PLR0913 - the inputs of the real model
        self,
        prompt: str = Input(description="Input prompt", default="An astronaut riding a rainbow unicorn"),
        negative_prompt: str = Input(description="Input Negative Prompt", default=""),
        image: Path = Input(description="Input image for img2img or inpaint mode", default=None),
        mask: Path = Input(
            description="Input mask for inpaint mode. Black areas will be preserved, white areas will be inpainted.",
            default=None,
        ),
        width: int = Input(description="Width of output image", default=1024),
        height: int = Input(description="Height of output image", default=1024),
        num_outputs: int = Input(description="Number of images to output.", default=1, ge=1, le=4),
        scheduler: str = Input(
            description="scheduler",
            choices=["DDIM", "DPMSolverMultistep", "HeunDiscrete", "KarrasDPM", "K_EULER_ANCESTRAL", "K_EULER", "PNDM"],
            default="K_EULER",
        ),
        num_inference_steps: int = Input(description="Number of denoising steps", default=50, ge=1, le=500),
        guidance_scale: float = Input(description="Scale for classifier-free guidance", default=7.5, ge=1, le=50),
        prompt_strength: float = Input(
            description="Prompt strength when using img2img / inpaint. 1.0 corresponds to full destruction of "
            "information in image",
            default=0.8,
            ge=0.0,
            le=1.0,
        ),
        seed: int = Input(description="Random seed. Leave blank to randomize the seed", default=None),
        refine: str = Input(
            description="Which refine style to use",
            choices=["no_refiner", "expert_ensemble_refiner", "base_image_refiner"],
            default="no_refiner",
        ),
        high_noise_frac: float = Input(
            description="For expert_ensemble_refiner, the fraction of noise to use", default=0.8, ge=0.0, le=1.0
        ),
        refine_steps: int = Input(
            description="For base_image_refiner, the number of steps to refine, defaults to num_inference_steps",
            default=None,
        ),
        apply_watermark: bool = Input(  # noqa: FBT001 - an input of the real model
            description="Applies a watermark to enable determining if an image is generated in downstream "
            "applications. If you have other provisions for generating or deploying images safely, you can use this to "
            "disable watermarking.",
            default=True,
        ),
        lora_scale: float = Input(
            description="LoRA additive scale. Only applicable on trained models.", default=0.6, ge=0.0, le=1.0
        ),
        replicate_weights: str = Input(
            description="Replicate LoRA weights to use. Leave blank to use the default weights.", default=None
        ),
        disable_safety_checker: bool = Input(  # noqa: FBT001 - an input of the real model
            description="Disable safety checker for generated images. This feature is only available through the "
            "API. See [https://replicate.com/docs/how-does-replicate-work#safety]"
            "(https://replicate.com/docs/how-does-replicate-work#safety)",
            default=False,
        ),
    ) -> list[Path]:
        """Paint the prompt, over an image if one is given."""
        given = locals()
        seed = studio.seeded(seed)
        without_effect = [name for name, default in IGNORED.items() if given[name] != default]
        if mask and not image:
            without_effect.append("mask (there is no image)")
        request = read(prompt, negative_prompt)
        if negative_prompt and not request.scene:
            without_effect.append("negative_prompt (there is no scene)")
        ignored(without_effect)
        studio.describe(request)
        under = studio.open_picture("image", image).convert("RGB") if image else None
        if under and not mask:
            width, height = under.size
        size = studio.bounded(width, height)
        where = studio.open_picture("mask", mask).convert("L").resize(size) if mask and under else None
        painted = studio.pictures(request, size, seed, num_outputs, num_inference_steps)
        if under:
            below = under.resize(size)
            painted = (studio.over(below, picture, prompt_strength, where) for picture in painted)
        return [Path(studio.save(picture, f"out-{number}.png", 0)) for number, picture in enumerate(painted)]
