"""Models that propose configurations: Gaussian processes over rungs, and hpbandster's densities."""
