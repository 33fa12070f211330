"""Evaluate trained classifiers: cross-validation, statistics, fusion, prediction on a recording."""
