"""Measure the speed of training, compared with a plain implementation of the networks and with the hardware's peak.

    python benchmarks/training.py [--quick] [--only 'ecg-10-*'] [--device cpu] [--seconds 20] [--out training]
    python benchmarks/training.py --curves [--store STORE] [--steps 200] [--out training]

Each cell trains one network twice, in turn, in this process: with `Experiment` and the training loop, as every
command does, and with `benchmarks/reference_model.py` (torch's own layers, float32, every row, a `DataLoader`). Ratios
are of segments per second; on a CPU per second of CPU time. Prints a table and writes it to OUT/training.md, every
round to OUT/training.json; cells that are already in it are not measured again. Ray is not imported.

With --curves both train on the same segments from the same weights with the same masks (OUT/curves.png).
"""

import argparse
import fnmatch
import json
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.markdown import markdown
from benchmarks.plain_training import as_it_comes, plain_epoch, reference_for
from benchmarks.timing import side_by_side, spread
from benchmarks.training_cases import Case, cases, synthetic_data
from benchmarks.training_curves import curves_page
from emotune.training.loop import train_epoch
from emotune.training.meter import gemm_peak

BATCHES = {"published": {"pretrain": 4, "finetune": 8}, "small": {"pretrain": 8, "finetune": 16}}
"""Segments of 10 s per step on a CPU; inversely proportional for longer ones, times `GPU_TIMES` on a GPU."""
GPU_TIMES = 64
STEPS = {"published": (1, 2), "small": (1, 2)}
"""Steps per round: of the reference, and of the fast path."""


@dataclass(frozen=True)
class Measured:
    """The measurement of a cell, as it is stored.

    Attributes:
        case: The network, task and signals.
        about: Batch size, and the execution plan of the fast path.
        flops: Floating-point operations of training on a segment once.
        speeds: Segments per second of every round, of the reference and of the fast path.
        wall: Medians of the segments per wall-clock second of both.
        peaks: Measured peaks of a matrix product, floating-point operations per second.
    """

    case: dict[str, Any]
    about: dict[str, Any]
    flops: float
    speeds: dict[str, list[float]]
    wall: dict[str, float]
    peaks: dict[str, float]

    @property
    def ratios(self) -> list[float]:
        """Speed of the fast path divided by that of the reference, by round."""
        return [fast / plain for plain, fast in zip(self.speeds["reference"], self.speeds["fast"], strict=True)]

    def row(self) -> list[str]:
        """Return the row of the table."""
        case = Case(**self.case)
        texts = [case.modality, f"{case.seconds}", case.task, case.size, f"{case.attention_dropout:g}"]
        medians = {name: statistics.median(speeds) for name, speeds in self.speeds.items()}
        texts += [f"{self.about['batch']}", f"{medians['reference']:.3g}", f"{medians['fast']:.3g}"]
        rate = medians["fast"] * self.flops
        shares = [rate / self.peaks[name] for name in ("float32", "bfloat16")]
        plain = medians["reference"] * self.flops / self.peaks["float32"]
        shown = f"{rate / 1e9:.3g}"
        return [*texts, f"{self.wall['fast']:.3g}", spread(self.ratios), shown, *(f"{s:.0%}" for s in (plain, *shares))]


HEAD = [
    *("signal", "s", "task", "size", "attention dropout", "batch", "reference seg/s", "fast seg/s", "fast, wall"),
    *("ratio", "fast, GFLOP/s", "reference / fp32 peak", "fast / fp32 peak", "fast / bf16 peak"),
]


def measure(case: Case, *, seconds: float, device: torch.device, compute: Mapping[str, Any]) -> Measured:
    """Train the network of a cell with both implementations, and return their speeds."""
    batch = max(1, BATCHES[case.size][case.task] * 10 // case.seconds) * (GPU_TIMES if device.type == "cuda" else 1)
    experiment = case.experiment(batch_size=batch, compute=dict(compute))
    plain_steps, fast_steps = STEPS[case.size]
    training_data = synthetic_data(case, segments=batch * fast_steps)
    state = experiment.begin_untrained(training_data)
    resident = training_data.resident(state.execution.device)
    plain = reference_for(experiment, state, training_data.shortened(batch * plain_steps), device=device)
    programs: dict[str, Callable[[], object]] = {
        "reference": lambda: plain_epoch(plain),
        "fast": lambda: train_epoch(state, resident, experiment.training_plan()),
    }
    segments = {"reference": batch * plain_steps, "fast": batch * fast_steps}
    rounds = side_by_side(programs, segments=segments, seconds=seconds)
    return Measured(
        case=asdict(case),
        about={"batch": batch, "paths": str(state.execution)},
        flops=case.flops(),
        speeds={name: times.speeds(device.type) for name, times in rounds.items()},
        wall={name: times.wall_speed() for name, times in rounds.items()},
        peaks=measured_peaks(device),
    )


def measured_peaks(device: torch.device) -> dict[str, float]:
    """Measure matrix products in float32, with torch's default precision, and in bfloat16."""
    with as_it_comes():
        return {
            name: gemm_peak(device, getattr(torch, name), threads=torch.get_num_threads())
            for name in ("float32", "bfloat16")
        }


def page(measured: list[Measured], *, device: torch.device) -> str:
    """Return the table as Markdown."""
    peaks = {name: statistics.median(cell.peaks[name] for cell in measured) / 1e9 for name in ("float32", "bfloat16")}
    about = [
        f"torch {torch.__version__}, {device.type}, {torch.get_num_threads()} thread(s). Peaks of a matrix product: "
        f"float32 {peaks['float32']:.4g}, bfloat16 {peaks['bfloat16']:.4g} GFLOP/s. Segments per "
        f"{'CPU second' if device.type == 'cpu' else 'second'}; ratios are medians over rounds [smallest-largest]."
    ]
    return "\n\n".join([*about, markdown(HEAD, [cell.row() for cell in measured])])


def kept(path: Path) -> dict[str, Measured]:
    """Read the cells of earlier runs, by name."""
    if not path.exists():
        return {}
    cells = [Measured(**content) for content in json.loads(path.read_text())]
    return {Case(**cell.case).name: cell for cell in cells}


def table(given: argparse.Namespace) -> str:
    """Measure the requested cells, except those of earlier runs, and return the table."""
    path, device = given.out / "training.json", torch.device(given.device)
    compute = {"threads": given.threads, **dict(pair.split("=", 1) for pair in given.compute)}
    done = kept(path)
    wanted = [case for case in cases(quick=given.quick) if fnmatch.fnmatch(case.name, given.only)]
    for case in wanted:
        if case.name in done:
            continue
        done[case.name] = measure(case, seconds=given.seconds, device=device, compute=compute)
        sys.stderr.write(f"{case.name}: {spread(done[case.name].ratios)}\n")
        path.write_text(json.dumps([asdict(cell) for cell in done.values()]))
    text = page([done[case.name] for case in wanted], device=device)
    (given.out / "training.md").write_text(text + "\n")
    return text


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four cells only")
    parser.add_argument("--only", default="*", help="names of cells, for example 'ecg-10-*-0.1'")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20, help="duration per cell, with at least three rounds")
    parser.add_argument("--compute", nargs="*", default=[], metavar="KEY=VALUE", help="settings of Experiment.compute")
    parser.add_argument("--curves", action="store_true", help="loss curves instead of speeds")
    parser.add_argument("--store", type=Path, help="curves: segment store [default: synthetic segments]")
    parser.add_argument("--steps", type=int, default=200, help="curves: optimiser steps")
    parser.add_argument(
        "--size", default="published", choices=["published", "small"], help="curves: size of the network"
    )
    parser.add_argument("--out", type=Path, default=Path("training"))
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    given = arguments()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    text = curves_page(given) if given.curves else table(given)
    assert not any(name == "ray" or name.startswith("ray.") for name in sys.modules)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
