"""A predictor with the inputs of Meta Llama 3 8B Instruct, run by SmolLM2."""

# ruff: noqa: INP001 - a Cog model is a folder, not a package

from smollm.predictor import stand_in

Predictor = stand_in(
    context=8192,
    system_prompt="You are a helpful assistant",
    prompt_template=(
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{system_prompt}<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n{prompt}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    stop_sequences="<|end_of_text|>,<|eot_id|>",
)
