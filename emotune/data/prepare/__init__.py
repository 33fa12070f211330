"""Turn recordings into a segment store."""
