"""Studies and their records: what is searched, what was decided, and what the results are. No Ray."""
