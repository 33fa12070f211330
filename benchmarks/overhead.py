"""Measure the cost of a search besides training, compared with Ray's BOHB (TuneBOHB and HyperBandForBOHB).

    python benchmarks/overhead.py [--only workers idle core memory] [--out overhead]

Prints one table after the other, and writes them to OUT/overhead.md. They are explained in
benchmarks/README.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.markdown import markdown
from benchmarks.overhead_core import ask_and_tell_page
from benchmarks.overhead_idle import page as idle_page
from benchmarks.overhead_spans import Account, account, read_spans

ROOT = Path(__file__).parents[1]
WORKERS = 2
EMOTUNE = {"emotune, free": ("emotune", "--order", "free"), "emotune, strict": ("emotune", "--order", "strict")}
BY_EPOCHS = {f"{name}, time proportional to epochs": (*given, "--per-epoch") for name, given in EMOTUNE.items()}
USUAL_EPOCHS = 2
"""Approximate mean number of epochs of an evaluation."""
STOCK = {"Ray's BOHB": ("stock",), "Ray's BOHB, reuse_actors": ("stock", "--reuse")}


def run_child(*arguments: str, folder: Path) -> dict:
    """Run one study in its own process with its own Ray, and return its measurements."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="ov-", dir="/tmp") as temporary:  # paths of sockets must be short
        settings = {"RAY_ADDRESS": "local", "RAY_TMPDIR": temporary, "RAY_AUTH_MODE": "disabled"}
        settings |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
        settings |= {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        subprocess.run(
            [sys.executable, str(ROOT / "benchmarks/overhead_ray.py"), *arguments, "--folder", str(folder)],
            env=os.environ | settings,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=600,
        )
    return json.loads((folder / "about.json").read_text())


def workers(given: argparse.Namespace) -> str:
    """Compare how workers spend their time; evaluations are sleeps."""
    rows = []
    for seconds in given.seconds:
        for name, arguments in (EMOTUNE | BY_EPOCHS | STOCK).items():
            folder = given.out / "runs" / f"{len(rows)}"
            duration = seconds / USUAL_EPOCHS if name in BY_EPOCHS else seconds
            about = run_child(*arguments, "--seconds", str(duration), "--workers", str(WORKERS), folder=folder)
            spans = read_spans(folder)
            waited = min(span.start for span in spans) - about["begin"]
            began = [f"{about['ray_seconds']:.1f}", f"{waited:.1f}"]
            rows.append([f"{seconds:g}", name, *_cells(account(spans, workers=WORKERS)), *began])
    head = ["seconds", "search", "evaluations", "training", "warm starts", "cold starts", "Ray ready", "first epoch"]
    return markdown(head, rows)


def _cells(found: Account) -> list[str]:
    return [str(found.evaluations), f"{found.share:.1%}", _summary(found.warm), _summary(found.cold)]


def _summary(seconds: list[float]) -> str:
    if not seconds:
        return "none"
    middle = statistics.mean(seconds), statistics.median(seconds)
    return f"{len(seconds)}: {middle[0]:.3f} / {middle[1]:.3f} / {max(seconds):.3f}"


def idle(given: argparse.Namespace) -> str:
    """Compare orders, simulated for many seeds, and once on real Ray."""
    rows = []
    orders = {"strict": (), "strict, nothing ahead": ("--ahead", "0"), "free": ("--order", "free")}
    for name, options in orders.items():
        folder = given.out / "runs" / f"idle-{len(rows)}"
        sleep = ("--seconds", "0.3", "--per-epoch", "--jitter", "0.3", "--evaluations", "44")
        run_child("emotune", *sleep, *options, folder=folder)
        found = account(read_spans(folder), workers=WORKERS)
        rows.append([name, str(found.evaluations), f"{1 - found.share:.1%}"])
    real = markdown(["order", "evaluations", "idle in the whole search"], rows)
    return f"{idle_page(seeds=given.seeds)}\n\nOn real Ray, 2 workers, jitter 0.3, async, one seed:\n\n{real}"


def core(given: argparse.Namespace) -> str:
    """Measure the duration of ask and tell."""
    return ask_and_tell_page(models=("rungs", "hpbandster"), sizes=given.sizes)


def memory(given: argparse.Namespace) -> str:
    """Compare the memory of drivers after evaluations that take no time."""
    sizes = sorted({10, *given.sizes})
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "benchmarks/overhead_core.py"), folder, "--sizes", *map(str, sizes)]
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    columns = {"emotune without Ray": json.loads(found.stdout)}
    base = given.out / "runs"
    many = ("--evaluations", str(given.ray_evaluations), "--order", "free", "--seconds", "0")
    columns["emotune"] = run_child("emotune", *many, folder=base / "memory-emotune")["mib"]
    few = ("--configurations", "77", "--reuse", "--seconds", "0")
    columns["Ray's BOHB, reuse_actors"] = run_child("stock", *few, folder=base / "memory-stock")["mib"]
    rows = [[name, *(_mib(mib.get(str(size))) for size in sizes)] for name, mib in columns.items()]
    return markdown(["MiB after evaluations", *map(str, sizes)], rows)


def _mib(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


PARTS = {
    "workers": ("How workers spend their time (warm and cold starts: number, mean / median / max seconds)", workers),
    "idle": ("Idle workers by order and schedule", idle),
    "core": ("Duration of ask and tell, 8 dimensions", core),
    "memory": ("Memory of the driver", memory),
}


def main() -> None:
    """Run the command."""
    given = _arguments()
    given.out = given.out.absolute()
    pages = []
    for name in given.only:
        title, part = PARTS[name]
        pages.append(f"## {title}\n\n{part(given)}\n")
        sys.stdout.write(f"{pages[-1]}\n")
        sys.stdout.flush()
    (given.out / "overhead.md").write_text("\n".join(pages), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 0.1], help="durations of an evaluation")
    parser.add_argument("--seeds", type=int, default=20, help="number of seeds of the simulations")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[100, 1000, 10000], help="numbers of evaluations for core and memory"
    )
    parser.add_argument("--ray-evaluations", type=int, default=1000, help="evaluations on Ray for the memory")
    parser.add_argument("--out", type=Path, default=Path("overhead"), help="must be empty")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if any(given.out.iterdir()):
        parser.error(f"{given.out} is not empty")
    return given


if __name__ == "__main__":
    main()
