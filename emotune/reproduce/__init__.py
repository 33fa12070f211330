"""The papers' tables: which experiments fill them, and the published numbers beside ours."""
