"""The numbers stay what they were: a refactoring changes none of them."""

import json

import pytest

from tests.golden.renew import FILE, losses


def test_losses_are_the_known_ones() -> None:
    known = json.loads(FILE.read_text())
    now = losses()
    assert now.keys() == known.keys()
    for name, epochs in now.items():
        for epoch, (got, expected) in enumerate(zip(epochs, known[name], strict=True), start=1):
            assert got == pytest.approx(expected, rel=2e-4), f"{name}, epoch {epoch}"
