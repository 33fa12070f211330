"""The program with groups whose workers note which segments they were given, in which step: ``FOLDER ARGUMENTS...``."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from emotune.cli import main
from emotune.data.batches import Batch
from emotune.runtime import driver, group
from emotune.training import loop


def noting(serve: Callable[[dict[str, Any]], None], folder: Path) -> Callable[[dict[str, Any]], None]:
    """Wrap what every worker of a group runs: each writes a file with a line per step."""

    def serve_and_note(config: dict[str, Any]) -> None:
        given = loop.batches
        with (folder / f"{time.time_ns()}-{os.getpid()}.jsonl").open("w") as file:

            def noted(*arguments: Any, **named: Any) -> Iterator[Batch]:
                plan = named["plan"]
                for step, batch in enumerate(given(*arguments, **named), start=named.get("skip", 0)):
                    if plan.shuffle:
                        place = {"time": time.time(), "epoch": plan.epoch, "step": step, "shard": plan.shard}
                        file.write(json.dumps(place | {"rows": batch.rows.tolist()}) + "\n")
                        file.flush()
                    yield batch

            loop.batches = noted
            try:
                serve(config)
            finally:
                loop.batches = given

    return serve_and_note


class NotingTrainable(group.GroupTrainable):
    folder = Path(sys.argv[1])

    def setup(self, config: dict[str, Any]) -> None:
        group.serve = noting(group.serve, self.folder)
        super().setup(config)


if __name__ == "__main__":
    driver.GroupTrainable = NotingTrainable
    del sys.argv[1]
    main()
