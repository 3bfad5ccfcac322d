"""How many property-based cases: 100 a format, 2,500 with HYPOTHESIS_PROFILE=thorough."""

from __future__ import annotations

import os

import hypothesis

hypothesis.settings.register_profile(
    "quick", max_examples=100, deadline=None, derandomize=True, database=None
)
hypothesis.settings.register_profile("thorough", max_examples=2500, deadline=None, database=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
