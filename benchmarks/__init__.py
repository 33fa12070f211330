"""Benchmarks of this project and of comparable programs. They are not part of the package."""
