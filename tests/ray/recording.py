"""The program with groups whose workers record the segments of each step: ``FOLDER ARGUMENTS ...``."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from emotune.cli import main
from emotune.data.batches import Batch
from emotune.runtime import experiments, group
from emotune.training import loop


def recording(serve: Callable[[dict[str, Any]], None], folder: Path) -> Callable[[dict[str, Any]], None]:
    """Wrap the function that every worker of a group runs, so that each writes a file with a line per step."""

    def serve_and_record(config: dict[str, Any]) -> None:
        original = loop.batches
        with (folder / f"{time.time_ns()}-{os.getpid()}.jsonl").open("w") as file:

            def recorded(*arguments: Any, **options: Any) -> Iterator[Batch]:
                plan = options["plan"]
                for step, batch in enumerate(original(*arguments, **options), start=options.get("skip", 0)):
                    if plan.shuffle:
                        position = {"time": time.time(), "epoch": plan.epoch, "step": step, "shard": plan.shard}
                        file.write(json.dumps(position | {"rows": batch.rows.tolist()}) + "\n")
                        file.flush()
                    yield batch

            loop.batches = recorded
            try:
                serve(config)
            finally:
                loop.batches = original

    return serve_and_record


class RecordingTrainable(group.GroupTrainable):
    folder = Path(sys.argv[1])

    def setup(self, config: dict[str, Any]) -> None:
        group.serve = recording(group.serve, self.folder)
        super().setup(config)


if __name__ == "__main__":
    assert experiments.GroupTrainable is group.GroupTrainable
    experiments.GroupTrainable = RecordingTrainable
    del sys.argv[1]
    main()
