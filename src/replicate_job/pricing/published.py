"""Prices in USD, as published at https://replicate.com/pricing and on the pages of the models.

They are in Python, since reading a TOML file takes milliseconds of each batch's start.
"""

from __future__ import annotations

from datetime import date

READ = date(2026, 10, 7)
"""The day on which the prices were read."""
HARDWARE = {
    "cpu": "0.000100",
    "gpu-t4": "0.000225",
    "gpu-a40-small": "0.000575",
    "gpu-a40-large": "0.000725",
    "gpu-a40-large-2x": "0.001450",
    "gpu-a40-large-4x": "0.002900",
    "gpu-a40-large-8x": "0.005800",
    "gpu-l40s": "0.000975",
    "gpu-2x-l40s": "0.001950",
    "gpu-4x-l40s": "0.003900",
    "gpu-8x-l40s": "0.007800",
    "gpu-a100-large": "0.001400",
    "gpu-a100-large-2x": "0.002800",
    "gpu-a100-large-4x": "0.005600",
    "gpu-a100-large-8x": "0.011200",
    "gpu-h100": "0.001525",
    "gpu-h100-2x": "0.003050",
    "gpu-h100-4x": "0.006100",
    "gpu-h100-8x": "0.012200",
}
"""USD a second."""
MODELS = {
    "black-forest-labs/flux-schnell": "3.00/1000 images",
    "black-forest-labs/flux-dev": "0.025/image",
    "black-forest-labs/flux-1.1-pro": "0.04/image",
    "ideogram-ai/ideogram-v3-quality": "0.09/image",
    "deepseek-ai/deepseek-r1": "3.75/1M input tokens + 0.01/1000 output tokens",
}
"""Official models, which are priced by their output or input."""
