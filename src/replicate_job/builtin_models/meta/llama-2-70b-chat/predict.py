"""A predictor with the inputs of Llama 2 70B Chat, run by SmolLM2."""

# ruff: noqa: INP001 - a Cog model is a folder, not a package

from smollm.predictor import stand_in

Predictor = stand_in(
    context=4096,
    system_prompt=(
        "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being "
        "safe. Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal "
        "content. Please ensure that your responses are socially unbiased and positive in nature.\n\n"
        "If a question does not make any sense, or is not factually coherent, explain why instead of answering "
        "something not correct. If you don't know the answer to a question, please don't share false information."
    ),
    prompt_template="<s>[INST] <<SYS>>\n{system_prompt}\n<</SYS>>\n\n{prompt} [/INST]",
)
