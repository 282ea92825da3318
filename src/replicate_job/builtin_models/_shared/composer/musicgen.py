"""The composer behind MusicGen's inputs (names, order, bounds and texts as published on Replicate)."""

# ruff: noqa: B008, PLR0917, FBT001 - a Cog model's inputs are positional defaults, and these are the real model's

from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def setup(self) -> None:
        """Import the composer, which needs numpy. The inputs of this class must be readable without it."""
        from composer.studio import answer  # noqa: PLC0415 - the inputs are also read without numpy

        self.answer = answer

    def predict(  # noqa: PLR0913 - the inputs of the real model
        self,
        model_version: str = Input(
            description="Model to use for generation",
            default="stereo-melody-large",
            choices=["stereo-melody-large", "stereo-large", "melody-large", "large"],
        ),
        prompt: str = Input(description="A description of the music you want to generate.", default=None),
        input_audio: Path = Input(
            description="An audio file that will influence the generated music. If `continuation` is `True`, the "
            "generated music will be a continuation of the audio file. Otherwise, the generated music will mimic the "
            "audio file's melody.",
            default=None,
        ),
        duration: int = Input(description="Duration of the generated audio in seconds.", default=8),
        continuation: bool = Input(
            description="If `True`, generated music will continue from `input_audio`. Otherwise, generated music will "
            "mimic `input_audio`'s melody.",
            default=False,
        ),
        continuation_start: int = Input(
            description="Start time of the audio file to use for continuation.", default=0, ge=0
        ),
        continuation_end: int = Input(
            description="End time of the audio file to use for continuation. If -1 or None, will default to the end of "
            "the audio clip.",
            default=None,
            ge=0,
        ),
        multi_band_diffusion: bool = Input(
            description="If `True`, the EnCodec tokens will be decoded with MultiBand Diffusion. Only works with "
            "non-stereo models.",
            default=False,
        ),
        normalization_strategy: str = Input(
            description="Strategy for normalizing audio.",
            default="loudness",
            choices=["loudness", "clip", "peak", "rms"],
        ),
        top_k: int = Input(description="Reduces sampling to the k most likely tokens.", default=250),
        top_p: float = Input(
            description="Reduces sampling to tokens with cumulative probability of p. When set to  `0` (default), "
            "top_k sampling is used.",
            default=0.0,
        ),
        temperature: float = Input(
            description="Controls the 'conservativeness' of the sampling process. Higher temperature means more "
            "diversity.",
            default=1.0,
        ),
        classifier_free_guidance: int = Input(
            description="Increases the influence of inputs on the output. Higher values produce lower-varience outputs "
            "that adhere more closely to inputs.",
            default=3,
        ),
        output_format: str = Input(
            description="Output format for generated audio.", default="wav", choices=["wav", "mp3"]
        ),
        seed: int = Input(
            description="Seed for random number generator. If None or -1, a random seed will be used.", default=None
        ),
    ) -> Path:
        """Compose what the prompt asks for."""
        return Path(self.answer(locals()))
