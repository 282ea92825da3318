"""Run AI models on Replicate as jobs that finish: created once, waited for to their true end, outputs kept."""

__version__ = "0.1.0"
