"""Late fusion: the features of two frozen classifiers, side by side, for a classifier of their own."""

from emotune.fusion.features import FeatureSummary, build_features

__all__ = ["FeatureSummary", "build_features"]
