"""``python -m replicate_job``: the command line without its script, which may not be on the path."""

from __future__ import annotations

from replicate_job.cli.start import main

main()
