"""Write the golden files that have changed: ``make golden``, or ``python -m tests.golden.renew WORD ...`` for some.

Commit changed golden files separately. Journals are not renewed: `tests.golden.record_journals` wrote them once.
"""

import sys

from tests.golden.items import chosen

if __name__ == "__main__":
    for item in chosen(sys.argv[1:]):
        item.renew()
