"""SmolLM2-135M-Instruct behind the inputs of Replicate's Llama models."""
