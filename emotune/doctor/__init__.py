"""Checks of a host and of a cluster, each with its remedy (``emotune doctor``)."""
