"""The papers' tables: the experiments of each cell, and the published numbers beside ours."""
