"""Readers of corpora and of single recordings."""
