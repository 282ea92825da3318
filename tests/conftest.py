"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The machine that runs the tests may be busy with others: how long an example takes says nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
