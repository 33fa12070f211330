"""Measurements of the project against its peers. They are not part of the package."""
