"""Compare the golden files with the present results: ``python -m tests.golden.compare [WORD ...]``.

Prints a line per golden file whose name contains one of the words, and its differences. Exits with 1 if a file differs.
"""

import sys

from tests.golden.items import chosen

PRINTED_DIFFERENCES = 5
"""Number of differences that are printed per file."""


def main(words: list[str]) -> int:
    """Compare the files whose names contain one of the words, or all."""
    code = 0
    for item in chosen(words):
        lines = item.differences()
        sys.stdout.write(f"{'different' if lines else 'equal':<10}{item.name}\n")
        for line in lines[:PRINTED_DIFFERENCES]:
            sys.stdout.write(f"{'':<10}  {line}\n")
        if len(lines) > PRINTED_DIFFERENCES:
            sys.stdout.write(f"{'':<10}  and {len(lines) - PRINTED_DIFFERENCES} more differences\n")
        sys.stdout.flush()
        code = code or int(bool(lines))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
