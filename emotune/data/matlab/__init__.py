"""Readers of MAT files that a damaged file cannot crash."""
