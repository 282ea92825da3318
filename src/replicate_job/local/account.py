"""The account and the hardware that the API shows for this server."""

from __future__ import annotations

from replicate_job.serving.resource import account_body

USERNAME = "local"
ACCOUNT = account_body(USERNAME, "This machine")
HARDWARE = {
    "cpu": "This machine",
    "gpu-t4": "Nvidia T4 (in name: all runs on this machine)",
    "gpu-a40-small": "Nvidia A40 (in name: all runs on this machine)",
    "gpu-a40-large": "Nvidia A40 Large (in name: all runs on this machine)",
    "gpu-l40s": "Nvidia L40S (in name: all runs on this machine)",
    "gpu-a100-large": "Nvidia A100 80GB (in name: all runs on this machine)",
    "gpu-h100": "Nvidia H100 (in name: all runs on this machine)",
}
"""Maps each SKU to its name. The SKUs are Replicate's, so that a deployment written for Replicate works here too."""
