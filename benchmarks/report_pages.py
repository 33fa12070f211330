"""Time and size of the report for searches of several sizes: ``python -m benchmarks.report_pages [COUNT ...]``.

The journals are synthetic (`tests.support.journals`): HyperBand from 1 to 27 epochs over seven settings. Each page is
made in a process of its own, as `emotune report` makes it; imports count.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from emotune.study.journal import encode
from tests.support.journals import synthetic_search

COUNTS = (10, 100, 1000)
"""Configurations of the searches."""


def main(counts: tuple[int, ...]) -> None:
    """Print a line per search: configurations, records, CPU seconds, seconds, megabytes."""
    print("configurations  records  CPU (s)  wall (s)  page (MB)")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            records = synthetic_search(f"s{count}", configurations=count)
            search = Path(folder) / f"s{count}"
            search.mkdir()
            lines = (encode(record, sequence=number) for number, record in enumerate(records))
            (search / "journal.jsonl").write_bytes(b"".join(lines))
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            command = [sys.executable, "-m", "emotune", "report", search.name, "--storage", folder]
            subprocess.run(command, check=True, capture_output=True)
            after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            size = (search / "report.html").stat().st_size / 1e6
            print(f"{count:>14}  {len(records):>7}  {cpu:>7.2f}  {wall:>8.2f}  {size:>9.2f}")  # noqa: T201


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or COUNTS)
