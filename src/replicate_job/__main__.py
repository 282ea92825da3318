"""``python -m replicate_job``: the command line, where its script is not on the path."""

from __future__ import annotations

from replicate_job.cli.start import main

main()
