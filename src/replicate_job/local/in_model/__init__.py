"""Scripts that run in a model's own Python. This package is not installed there, so they import nothing from it.

The scripts are read as text: ``python -c`` runs ``WORKER`` and ``SIGNATURE``, and ``PROJECT_FOLDER`` is copied into
each model's site-packages.
"""

from __future__ import annotations

from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
SIGNATURE = Path(__file__).with_name("signature.py")
PROJECT_FOLDER = Path(__file__).with_name("project_folder.py")
