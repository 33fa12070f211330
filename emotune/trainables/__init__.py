"""What Ray runs: evaluations in warm workers. The only package that imports Ray beside ``search``."""
