"""Whose server this is, as the API tells it, and what it runs on."""

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
"""By SKU. Those of Replicate are taken, so that a deployment that is written for it can be made here."""
