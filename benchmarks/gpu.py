"""Training on a GPU, one measure after the other: the gain of each, the share of the peak, the time per part.

    benchmarks/gpu.sh [--device cuda] [--minutes 8] [--batch 256] [--out gpu]

Prints each result, and writes OUT/gpu.md, OUT/training.json and OUT/trace.json.gz (for ui.perfetto.dev).
Every row trains the published ECG network (on a CPU, for a rehearsal, a small one). MFU is segments per second times
the floating-point operations of the plain network (28.67 GFLOP per segment of 10 s), divided by a peak.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.gpu_ladder import Ladder
from benchmarks.gpu_profile import profile_page
from benchmarks.markdown import markdown
from benchmarks.training import measure, measured_peaks, page
from benchmarks.training_cases import Case

H200 = 790e12
"""Measured floating-point operations per second of a bfloat16 matrix product on an H200; the usual reference value."""

CELLS = (
    Case(),
    Case(task="finetune"),
    Case(size="small"),
    Case(attention_dropout=0.0),
    Case(modality="eeg"),
    Case(seconds=40),
    Case(seconds=20),
)
"""Cells of the table of `benchmarks/training.py`, the most important first."""

REHEARSED = (Case(size="small"), Case(size="small", task="finetune"))


@dataclass(frozen=True)
class Deadline:
    """A time after which no further part is started."""

    at: float

    @property
    def passed(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() > self.at


class Report:
    """Prints each part at once, and writes all parts to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: list[str] = []

    def add(self, text: str) -> None:
        """Print and write a part."""
        self._parts.append(text)
        sys.stdout.write(text + "\n\n")
        sys.stdout.flush()
        self._path.write_text("\n\n".join(self._parts) + "\n")


def about(device: torch.device, peaks: dict[str, float]) -> str:
    """Return the heading: device, torch version and peaks."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    shown = ", ".join(f"{kind} {peak / 1e12:.4g}" for kind, peak in peaks.items())
    return f"# Training on {name}\n\ntorch {torch.__version__}; peaks of a matrix product, TFLOP/s: {shown}."


def ladder_page(ladder: Ladder, *, deadline: Deadline, peak: float) -> str:
    """Measure all steps and return their table; steps after the deadline are named below it."""
    rows, before, skipped = [], None, []
    for step in ladder.steps():
        if deadline.passed:
            skipped.append(step.name)
            continue
        measured = ladder.measure(step)
        if isinstance(measured, str):
            rows.append([step.name, measured, *[""] * 6])
            continue
        rate = measured.segments_per_second * ladder.flops
        gain = "" if before is None else f"{measured.segments_per_second / before:.2f}"
        rows.append(
            [
                *(step.name, f"{measured.segments_per_second:.4g}", f"{measured.milliseconds:.4g}", gain),
                *(
                    f"{rate / peak:.1%}",
                    f"{rate / H200:.1%}",
                    f"{measured.gibibytes:.3g}",
                    "" if measured.loss_difference is None else f"{measured.loss_difference:.1g}",
                ),
            ]
        )
        before = measured.segments_per_second
        sys.stderr.write(f"{step.name}: {measured.segments_per_second:.4g} segments/s\n")
    head = ["step", "segments/s", "ms/step", "gain", "MFU, measured peak", "MFU, 790 TFLOP/s", "GiB", "loss difference"]
    text = f"## Step by step (batch {ladder.batch})\n\n" + markdown(head, rows)
    return text + (f"\n\nNot measured, because the time was up: {', '.join(skipped)}." if skipped else "")


def batches_page(ladder: Ladder, *, sizes: list[int], deadline: Deadline, peak: float) -> str:
    """Measure the last step with other batch sizes."""
    rows = []
    for size in sizes:
        if deadline.passed:
            break
        measured = ladder.with_batch(size).measure(ladder.last)
        if not isinstance(measured, str):
            rate = measured.segments_per_second
            rows.append([f"{size}", f"{rate:.4g}", f"{rate * ladder.flops / peak:.1%}", f"{measured.gibibytes:.3g}"])
    return "## Batch sizes\n\n" + markdown(["batch", "segments/s", "MFU, measured peak", "GiB"], rows)


def cells_page(device: torch.device, *, deadline: Deadline, seconds: float) -> str:
    """Return the table of `benchmarks/training.py` for the cells that can be measured before the deadline."""
    done = []
    for case in CELLS if device.type == "cuda" else REHEARSED:
        if not deadline.passed:
            compute = {"device": device.type} if device.type == "cuda" else {}
            done.append(measure(case, seconds=seconds, device=device, compute=compute))
    return "## Against the reference\n\n" + (
        page(done, device=device) if done else "Not measured, because the time was up."
    )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--minutes", type=float, default=8.0, help="duration after which no part is started")
    parser.add_argument("--batch", type=int, help="segments per step [default: 256; 8 on a CPU]")
    parser.add_argument("--seconds", type=float, default=4.0, help="duration of each measurement")
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    given = arguments()
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
    begun, device = time.monotonic(), torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no GPU on this machine; for a rehearsal on a CPU, run benchmarks/gpu.sh --device cpu")
    torch.set_num_threads(1 if device.type == "cpu" else min(8, os.cpu_count() or 1))
    given.out.mkdir(parents=True, exist_ok=True)
    report = Report(given.out / "gpu.md")
    peaks = measured_peaks(device)
    report.add(about(device, peaks))
    case = Case() if device.type == "cuda" else Case(size="small")
    batch = given.batch or (256 if device.type == "cuda" else 8)
    ladder = Ladder(case, batch=batch, device=device, seconds=given.seconds)
    # the steps get half of the time, so that profile and table are always measured
    shares: list[tuple[float, Callable[[Deadline], str]]] = [
        (0.45, lambda deadline: ladder_page(ladder, deadline=deadline, peak=peaks["bfloat16"])),
        (0.55, lambda _: profile_page(ladder, given.out)),
        (0.85, lambda deadline: cells_page(device, deadline=deadline, seconds=given.seconds)),
        (0.95, lambda deadline: _sizes(ladder, deadline=deadline, peak=peaks["bfloat16"])),
    ]
    for share, part in shares:
        report.add(part(Deadline(begun + 60 * given.minutes * share)))
    assert not any(name == "ray" or name.startswith("ray.") for name in sys.modules)
    report.add(f"Ray was not imported. {time.monotonic() - begun:.0f} s in total.")


def _sizes(ladder: Ladder, *, deadline: Deadline, peak: float) -> str:
    sizes = [32, 64, 128, 512] if ladder.device.type == "cuda" else [2, 4]
    return batches_page(ladder, sizes=sizes, deadline=deadline, peak=peak)


if __name__ == "__main__":
    main()
