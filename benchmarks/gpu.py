"""Training on a GPU, one measure after the other: the gain of each, the share of the peak, the time per part.

    benchmarks/gpu.sh [--device cuda] [--minutes 8] [--batch 256] [--out gpu]

Prints each row and writes it to OUT/gpu.md at once, so that a run that is cut short has given the rows before. Writes
OUT/trace.json.gz, too (for ui.perfetto.dev). Every row trains the published ECG network (on a CPU, for a rehearsal, a
small one), if it names no other. MFU is segments per second times the floating-point operations of the plain network
(28.67 GFLOP per segment of 10 s), divided by a peak.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks import gpu_kernels
from benchmarks.gpu_checks import CHECK_HEAD, REPEAT_HEAD, check_rows, dropout_rows, plans, repeat_rows
from benchmarks.gpu_ladder import Ladder, Step
from benchmarks.gpu_profile import profile_page
from benchmarks.training import measured_peaks
from benchmarks.training_cases import Case

H200 = 790e12
"""Measured floating-point operations per second of a bfloat16 matrix product on an H200; the usual reference value."""

LADDER_HEAD = [
    *("step", "segments/s", "ms/step", "gain", "MFU, measured peak", "MFU, 790 TFLOP/s", "GiB", "loss difference"),
    "first epoch, s",
]

OTHERS = (
    (Case(task="finetune"), 512),
    (Case(seconds=40), 64),
    (Case(size="small"), 64),
    (Case(modality="eeg"), 256),
    (Case(attention_dropout=0.0), 256),
    (Case(seconds=20), 128),
)
"""Other trainings with their batch sizes, the most important first."""

PARTS = ("checks", "steps", "profile", "sizes", "others", "repeat", "small", "kernels")
"""Names of the parts, in their order."""


class Report:
    """Prints each line at once, and appends it to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_text("")

    def add(self, text: str) -> None:
        """Print and write a line or several."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        with self._path.open("a") as file:
            file.write(text + "\n")

    def table(self, title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print and write a table, row by row."""
        self.add(f"\n## {title}\n\n| {' | '.join(head)} |\n| {' | '.join(['---'] * len(head))} |")
        for row in rows:
            self.add(f"| {' | '.join(row)} |")


def about(device: torch.device, peaks: dict[str, float]) -> str:
    """Return the heading: device, torch version and peaks."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    shown = ", ".join(f"{kind} {peak / 1e12:.4g}" for kind, peak in peaks.items())
    return f"# Training on {name}\n\ntorch {torch.__version__}; peaks of a matrix product, TFLOP/s: {shown}."


@dataclass(frozen=True)
class Measurements:
    """The parts of the benchmark.

    Attributes:
        ladder: The published network (on a CPU a small one) with its batch size.
        peak: Measured peak of the device in bfloat16, in floating-point operations per second.
        end: Time (`time.monotonic`) after which no row is started.
        out: Folder of the trace.
    """

    ladder: Ladder
    peak: float
    end: float
    out: Path

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.ladder.device.type == "cuda"

    def steps(self) -> Iterator[list[str]]:
        """Yield a row per step of the ladder."""
        before = None
        for step in self.ladder.steps():
            row, before = self._row(step.name, self.ladder, step, before=before)
            yield row

    def sizes(self) -> Iterator[list[str]]:
        """Yield a row per batch size, for the last step."""
        for size in (64, 128, 512, 1024) if self.on_gpu else (2, 4):
            yield self._row(f"batch {size}", self.ladder.with_batch(size), self.ladder.last)[0]

    def others(self) -> Iterator[list[str]]:
        """Yield a row per other training, for the last step."""
        for case, batch in OTHERS if self.on_gpu else ((Case(size="small", task="finetune"), 8),):
            name = f"{case.name}, batch {batch}"
            yield self._row(name, replace(self.ladder, case=case, batch=batch), self.ladder.last)[0]

    def small(self) -> Iterator[list[str]]:
        """Yield rows of the small network with the batch of a search, as it is and compiled."""
        case = Case(size="small")
        for batch in (8, 32) if self.on_gpu else (8,):
            for compiled in ("off", "on"):
                ladder = replace(self.ladder, case=case, batch=batch, compute={"compile": compiled})
                yield self._row(f"small, batch {batch}, compile: {compiled}", ladder, self.ladder.last)[0]

    def _row(
        self, name: str, ladder: Ladder, step: Step, *, before: float | None = None
    ) -> tuple[list[str], float | None]:
        if time.monotonic() > self.end:
            return [name, "not measured: the time was up", *[""] * (len(LADDER_HEAD) - 2)], before
        measured = ladder.measure(step)
        if isinstance(measured, str):
            return [name, measured, *[""] * (len(LADDER_HEAD) - 2)], before
        speed = measured.segments_per_second
        rate = speed * ladder.flops
        row = [
            *(name, f"{speed:.4g}", f"{measured.milliseconds:.4g}", "" if before is None else f"{speed / before:.2f}"),
            *(f"{rate / self.peak:.1%}", f"{rate / H200:.1%}", f"{measured.gibibytes:.3g}"),
            "" if measured.loss_difference is None else f"{measured.loss_difference:.1g}",
            f"{measured.first_epoch_s:.3g}",
        ]
        return row, speed

    def write(self, part: str, report: Report) -> None:
        """Measure a part and write its table."""
        tables: dict[str, Callable[[], None]] = {
            "checks": lambda: self._checks(report),
            "steps": lambda: report.table(f"Step by step (batch {self.ladder.batch})", LADDER_HEAD, self.steps()),
            "kernels": lambda: self._kernels(report),
            "sizes": lambda: report.table("Batch sizes", LADDER_HEAD, self.sizes()),
            "others": lambda: report.table("Other trainings", LADDER_HEAD, self.others()),
            "small": lambda: report.table("The small network, batches of a search", LADDER_HEAD, self.small()),
            "repeat": lambda: report.table("Repetition", REPEAT_HEAD, repeat_rows(self.ladder)),
            "profile": lambda: report.add("\n" + profile_page(self.ladder, self.out)),
        }
        assert set(tables) == set(PARTS)
        tables[part]()

    def _checks(self, report: Report) -> None:
        kind = "cuda" if self.on_gpu else "cpu"
        report.table("One step against float32 on the CPU", CHECK_HEAD, check_rows(self.ladder.case, device=kind))
        report.table("Dropout", REPEAT_HEAD, dropout_rows(self.ladder.case, list(plans(kind))[-1][1]))

    def _kernels(self, report: Report) -> None:
        if self.on_gpu:
            report.table("Kernels", gpu_kernels.HEAD, gpu_kernels.rows(self.ladder.batch))
        else:
            report.add("\n## Kernels\n\nMeasured on GPUs only.")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--minutes", type=float, default=8.0, help="duration after which no part is started")
    parser.add_argument("--batch", type=int, help="segments per step [default: 256; 8 on a CPU]")
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of each measurement")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"[default: {','.join(PARTS)}]")
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
    measurements = Measurements(ladder, peak=peaks["bfloat16"], end=begun + 60 * given.minutes, out=given.out)
    for part in given.parts.split(","):
        try:
            measurements.write(part, report)
        except Exception as error:  # noqa: BLE001 - the other parts are still worth measuring
            report.add(f"\n{part}: failed: {type(error).__name__}: {str(error)[:500]}")
        report.add(f"\n({part}: {time.monotonic() - begun:.0f} s since the start)")
    assert not any(name == "ray" or name.startswith("ray.") for name in sys.modules)


if __name__ == "__main__":
    main()
