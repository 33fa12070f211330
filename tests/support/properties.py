"""Hypothesis profiles: ``ci`` draws the same few examples in every run, ``thorough`` many new ones.

``pytest --hypothesis-profile=thorough`` (in ``make thorough``) selects the second one. Tests do not set a number of
examples; a test whose example takes long draws a share of the profile's: ``@examples(0.1)``.
"""

from hypothesis import HealthCheck, settings

PROFILES = {"ci": 25, "thorough": 250}
"""Examples of a test, by profile."""


def register_profiles() -> None:
    """Register the profiles and select ``ci``."""
    for name, count in PROFILES.items():
        settings.register_profile(
            name,
            max_examples=count,
            deadline=None,
            derandomize=name == "ci",
            suppress_health_check=list(HealthCheck),  # they measure time, and search spaces are large examples
        )
    settings.load_profile("ci")


def examples(share: float) -> settings:
    """Return settings with a share of the profile's examples, at least two."""
    return settings(max_examples=max(2, round(share * settings().max_examples)))
