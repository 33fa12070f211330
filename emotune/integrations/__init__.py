"""Adapters for other optimisation libraries, each imported by its own name."""
