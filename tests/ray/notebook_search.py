"""A search in a notebook's kernel that the stop button interrupts: ``python -m tests.ray.notebook_search STORAGE``.

It runs the same cell twice, with an interrupt after some epochs of the first run, and prints what the cells did.
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from jupyter_client.manager import start_new_kernel

CELL = """
import emotune
from tests.ray.stock_tuner import BUDGET, Curve, space
result = emotune.search(
    Curve, space=space(), budget=BUDGET, metric="loss", name="mine", storage={storage!r}, concurrency=1,
    constants={{"log": {log!r}}},
)
result
"""


def run(client: Any, code: str, *, interrupt: Any = None) -> dict[str, Any]:
    """Run a cell, and return its status, the kinds of its messages, and its last text."""
    kinds: Counter[str] = Counter()
    text = ""
    request = client.execute(code)
    while True:
        if interrupt is not None and interrupt():
            interrupt = None
        try:
            message = client.get_iopub_msg(timeout=0.2)
        except Exception:  # noqa: BLE001 (queue.Empty, by whatever name)
            continue
        if message["parent_header"].get("msg_id") != request:
            continue
        kinds[message["msg_type"]] += 1
        if message["msg_type"] in {"display_data", "update_display_data"}:
            text = message["content"]["data"]["text/plain"]
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            reply = client.get_shell_msg(timeout=60)["content"]
            return {"status": reply["status"], "error": reply.get("ename"), "kinds": dict(kinds), "text": text}


def main(storage: Path) -> None:
    """Run both cells."""
    log = storage / "log"
    manager, client = start_new_kernel(kernel_name="python3")

    def interrupt() -> bool:
        due = log.exists() and log.read_text(encoding="utf-8").count("\n") >= 6
        if due:
            manager.interrupt_kernel()
        return due

    code = CELL.format(storage=str(storage), log=str(log))
    started = time.monotonic()
    cells = [run(client, code, interrupt=interrupt), run(client, code)]
    client.stop_channels()
    manager.shutdown_kernel()
    sys.stdout.write(json.dumps({"cells": cells, "seconds": time.monotonic() - started}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
