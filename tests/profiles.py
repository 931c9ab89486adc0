"""Hypothesis profiles: `dev` on a desk, `ci`, `nightly`, which goes deeper, and `mutation`.

Of a mutant it matters only whether a test fails: no smaller example is looked for.
"""

import os

from hypothesis import HealthCheck, Phase, settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev")
IS_NIGHTLY = PROFILE == "nightly"

_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


def load():
    """Register the profiles, and load the one that the environment asks for."""
    settings.register_profile("dev", max_examples=40, **_COMMON)
    settings.register_profile("ci", max_examples=100, derandomize=True, print_blob=True, **_COMMON)
    settings.register_profile("nightly", max_examples=2000, **_COMMON)
    failing = (Phase.explicit, Phase.generate)
    settings.register_profile(
        "mutation", max_examples=40, derandomize=True, phases=failing, **_COMMON
    )
    settings.load_profile(PROFILE)


def examples(count, *, nightly):
    """For tests whose examples are costly: how many, and how many in the nightly profile."""
    return settings(max_examples=nightly if IS_NIGHTLY else count)
