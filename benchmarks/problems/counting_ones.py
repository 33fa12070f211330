"""Counting ones: maximise the number of ones among choices, and the probability of ones among chances."""

import numpy as np
from ConfigSpace import Categorical, ConfigurationSpace, Float

from benchmarks.problems.base import EPOCHS, Curve, Problem, Values
from emotune.randomness import stream

VARIABLES_PER_KIND = 8
SAMPLES_PER_EPOCH = 27


def counting_ones() -> Problem:
    """Return the problem with eight choices and eight chances.

    The loss is minus the number of choices that are 1, minus the share of ones in samples of each chance.
    The budget is the number of samples, 729 of them in a full evaluation.

    Source:
        Falkner et al., "BOHB", ICML 2018 (arXiv:1807.01774), section 5.1.
    """
    choices = [f"choice{number}" for number in range(VARIABLES_PER_KIND)]
    chances = [f"chance{number}" for number in range(VARIABLES_PER_KIND)]

    def new_space() -> ConfigurationSpace:
        bits = [Categorical(name, ["zero", "one"]) for name in choices]
        return ConfigurationSpace([*bits, *(Float(name, (0.0, 1.0)) for name in chances)])

    def curve(values: Values, seed: int) -> Curve:
        ones = sum(values[name] == "one" for name in choices)
        probabilities = np.array([values[name] for name in chances])
        generator = stream(seed, "counting-ones", *(repr(values[name]) for name in chances))
        hits = generator.binomial(SAMPLES_PER_EPOCH, probabilities, size=(EPOCHS, VARIABLES_PER_KIND)).cumsum(axis=0)
        drawn = SAMPLES_PER_EPOCH * np.arange(1, EPOCHS + 1)
        return -ones - hits.sum(axis=1) / drawn

    def truth(values: Values) -> float:
        return -float(sum(values[name] == "one" for name in choices) + sum(values[name] for name in chances))

    return Problem(
        name="counting_ones",
        new_space=new_space,
        curve=curve,
        truth=truth,
        best=-2.0 * VARIABLES_PER_KIND,
    )
