"""A predictor with Llama's inputs (names, order, bounds and texts as published on Replicate), run by SmolLM2."""

# ruff: noqa: PLR0917 - a Cog model's inputs are positional defaults

from cog import BasePredictor, ConcatenateIterator, Input, current_scope

from smollm.llama import Llama


def stand_in(
    *, context: int, system_prompt: str, prompt_template: str, stop_sequences: str | None = None
) -> type[BasePredictor]:
    """Make the predictor for a model with ``context`` tokens of context. The other arguments are defaults of inputs."""

    class Predictor(BasePredictor):
        def setup(self) -> None:
            """Load the model."""
            self.llama = Llama(context)

        def predict(  # noqa: PLR0913 - the inputs of the real model
            self,
            prompt: str = Input(description="Prompt to send to the model."),
            system_prompt: str = Input(
                description="System prompt to send to the model. This is prepended to the prompt and helps guide "
                "system behavior.",
                default=system_prompt,
            ),
            max_tokens: int = Input(
                description="Maximum number of tokens to generate. A word is generally 2-3 tokens.", default=512, ge=1
            ),
            min_tokens: int = Input(
                description="Minimum number of tokens to generate. To disable, set to -1. A word is generally 2-3 "
                "tokens.",
                default=None,
                ge=-1,
            ),
            temperature: float = Input(
                description="Adjusts randomness of outputs, greater than 1 is random and 0 is deterministic, 0.75 is a "
                "good starting value.",
                default=0.7,
                ge=0.0,
                le=5,
            ),
            top_p: float = Input(
                description="When decoding text, samples from the top p percentage of most likely tokens; lower to "
                "ignore less likely tokens.",
                default=0.95,
                ge=0.0,
                le=1.0,
            ),
            top_k: int = Input(
                description="When decoding text, samples from the top k most likely tokens; lower to ignore less "
                "likely tokens.",
                default=0,
                ge=-1,
            ),
            stop_sequences: str = Input(
                description="A comma-separated list of sequences to stop generation at. For example, '<end>,<stop>' "
                "will stop generation at the first instance of 'end' or '<stop>'.",
                default=stop_sequences,
            ),
            length_penalty: float = Input(
                description="A parameter that controls how long the outputs are. If < 1, the model will tend to "
                "generate shorter outputs, and > 1 will tend to generate longer outputs.",
                default=1.0,
                ge=0.0,
                le=5.0,
            ),
            presence_penalty: float = Input(
                description="A parameter that penalizes repeated tokens regardless of the number of appearances. As "
                "the value increases, the model will be less likely to repeat tokens in the output.",
                default=0.0,
            ),
            seed: int = Input(description="Random seed. Leave blank to randomize the seed.", default=None),
            prompt_template: str = Input(
                description="Template for formatting the prompt. Can be an arbitrary string, but must contain the "
                "substring `{prompt}`.",
                default=prompt_template,
            ),
            log_performance_metrics: bool = False,  # noqa: FBT001, FBT002 - an input of the real model
            max_new_tokens: int = Input(
                description="This parameter has been renamed to max_tokens. max_new_tokens only exists for backwards "
                "compatibility purposes. We recommend you use max_tokens instead. Both may not be specified.",
                default=None,
                ge=1,
            ),
            min_new_tokens: int = Input(
                description="This parameter has been renamed to min_tokens. min_new_tokens only exists for backwards "
                "compatibility purposes. We recommend you use min_tokens instead. Both may not be specified.",
                default=None,
                ge=-1,
            ),
        ) -> ConcatenateIterator[str]:
            """Write the answer, token by token."""
            yield from self.llama.write(locals(), current_scope().record_metric)

    return Predictor
