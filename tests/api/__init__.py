"""The functions of ``import emotune``."""
