"""Compare all that is recorded with what is computed now: ``python -m tests.golden.compare``, or with words of names.

Prints a line per golden file, and where it differs. Exits with 1 if anything differs.
"""

import sys

from tests.golden.items import chosen

SHOWN = 5
"""Differences that are printed per file."""


def main(words: list[str]) -> int:
    """Compare the files whose names contain one of the words, or all."""
    code = 0
    for item in chosen(words):
        lines = item.differences()
        sys.stdout.write(f"{'different' if lines else 'equal':<10}{item.name}\n")
        for line in lines[:SHOWN]:
            sys.stdout.write(f"{'':<10}  {line}\n")
        if len(lines) > SHOWN:
            sys.stdout.write(f"{'':<10}  and {len(lines) - SHOWN} more differences\n")
        sys.stdout.flush()
        code = code or int(bool(lines))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
