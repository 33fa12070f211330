"""``python -m emotune``: the same program as ``emotune``."""

from emotune.cli import main

main()
