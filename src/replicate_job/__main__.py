"""``python -m replicate_job``: runs the command line where the script ``replicate-job`` is not on the path."""

from __future__ import annotations

from replicate_job.cli.start import main

main()
