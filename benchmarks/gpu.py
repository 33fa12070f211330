"""Training on a GPU, one measure after the other: what each gains, how near it comes to the peak, where time goes.

    benchmarks/gpu.sh [--device cuda] [--minutes 8] [--batch 256] [--out gpu]

Prints as it goes, and writes OUT/gpu.md, OUT/training.json and OUT/trace.json.gz (to be opened with ui.perfetto.dev).
Every row trains the published ECG network (a small one on a CPU, for rehearsal). MFU is segments per second times the
floating-point operations of the network as it is written down (28.67 GFLOP per segment of 10 s), over a peak.
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
"""Floating-point operations per second of a bfloat16 matrix product on an H200, as measured; the usual yardstick."""

CELLS = (
    Case(),
    Case(task="finetune"),
    Case(size="small"),
    Case(attention_dropout=0.0),
    Case(modality="eeg"),
    Case(seconds=40),
    Case(seconds=20),
)
"""Of the table of `benchmarks/training.py`, the most important first."""

REHEARSED = (Case(size="small"), Case(size="small", task="finetune"))


@dataclass(frozen=True)
class Deadline:
    """When no further part is begun."""

    at: float

    @property
    def passed(self) -> bool:
        """Whether it is later than that."""
        return time.monotonic() > self.at


class Report:
    """Prints as it goes, and keeps everything for the file."""

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
    """Say what it is measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    shown = ", ".join(f"{kind} {peak / 1e12:.4g}" for kind, peak in peaks.items())
    return f"# Training on {name}\n\ntorch {torch.__version__}; peaks of a matrix product, TFLOP/s: {shown}."


def ladder_page(ladder: Ladder, *, deadline: Deadline, peak: float) -> str:
    """Climb the ladder and return its table; what came after the deadline is named."""
    rows, before, left = [], None, []
    for step in ladder.steps():
        if deadline.passed:
            left.append(step.name)
            continue
        measured = ladder.climb(step)
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
                    "" if measured.apart is None else f"{measured.apart:.1g}",
                ),
            ]
        )
        before = measured.segments_per_second
        sys.stderr.write(f"{step.name}: {measured.segments_per_second:.4g} segments/s\n")
    head = ["step", "segments/s", "ms/step", "gain", "MFU, measured peak", "MFU, 790 TFLOP/s", "GiB", "loss apart"]
    text = f"## Step by step (batch {ladder.batch})\n\n" + markdown(head, rows)
    return text + (f"\n\nLeft out for want of time: {', '.join(left)}." if left else "")


def batches_page(ladder: Ladder, *, sizes: list[int], deadline: Deadline, peak: float) -> str:
    """Measure the last step with other batch sizes."""
    rows = []
    for size in sizes:
        if deadline.passed:
            break
        measured = ladder.with_batch(size).climb(ladder.last)
        if not isinstance(measured, str):
            rate = measured.segments_per_second
            rows.append([f"{size}", f"{rate:.4g}", f"{rate * ladder.flops / peak:.1%}", f"{measured.gibibytes:.3g}"])
    return "## Batch sizes\n\n" + markdown(["batch", "segments/s", "MFU, measured peak", "GiB"], rows)


def cells_page(device: torch.device, *, deadline: Deadline, seconds: float) -> str:
    """Return the table of `benchmarks/training.py` for as many cells as there is time for."""
    done = []
    for case in CELLS if device.type == "cuda" else REHEARSED:
        if not deadline.passed:
            compute = {"device": device.type} if device.type == "cuda" else {}
            done.append(measure(case, seconds=seconds, device=device, compute=compute))
    return "## Against the reference\n\n" + (page(done, device=device) if done else "Left out for want of time.")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--minutes", type=float, default=8.0, help="begin nothing new after so long")
    parser.add_argument("--batch", type=int, help="segments per step [default: 256; 8 on a CPU]")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    given = arguments()
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
    begun, device = time.monotonic(), torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no GPU here; benchmarks/gpu.sh --device cpu rehearses on a CPU")
    torch.set_num_threads(1 if device.type == "cpu" else min(8, os.cpu_count() or 1))
    given.out.mkdir(parents=True, exist_ok=True)
    report = Report(given.out / "gpu.md")
    peaks = measured_peaks(device)
    report.add(about(device, peaks))
    case = Case() if device.type == "cuda" else Case(size="small")
    batch = given.batch or (256 if device.type == "cuda" else 8)
    ladder = Ladder(case, batch=batch, device=device, seconds=given.seconds)
    # the ladder gets half of the time, so that profile and table are there in any case
    shares: list[tuple[float, Callable[[Deadline], str]]] = [
        (0.45, lambda deadline: ladder_page(ladder, deadline=deadline, peak=peaks["bfloat16"])),
        (0.55, lambda _: profile_page(ladder, given.out)),
        (0.85, lambda deadline: cells_page(device, deadline=deadline, seconds=given.seconds)),
        (0.95, lambda deadline: _sizes(ladder, deadline=deadline, peak=peaks["bfloat16"])),
    ]
    for share, part in shares:
        report.add(part(Deadline(begun + 60 * given.minutes * share)))
    assert not any(name == "ray" or name.startswith("ray.") for name in sys.modules)
    report.add(f"Ray was not imported. {time.monotonic() - begun:.0f} s in all.")


def _sizes(ladder: Ladder, *, deadline: Deadline, peak: float) -> str:
    sizes = [32, 64, 128, 512] if ladder.device.type == "cuda" else [2, 4]
    return batches_page(ladder, sizes=sizes, deadline=deadline, peak=peak)


if __name__ == "__main__":
    main()
