"""Run searches with faults and print a table: ``python -m chaos [--only NAME]... [--times N] [--seed S]``.

A try that failed is repeated by ``--only NAME --seed S --times 1``.
"""

import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import click

from chaos import commands, damage, deaths, files, hostile, machine, tables
from chaos.bench import Bench, BrokenPromiseError, check, lost_results, synthetic_store

Act = Callable[[Bench, int], None]


@dataclass(frozen=True)
class Fault:
    """A fault, and the search that it disturbs."""

    act: Act
    settings: tuple[str, ...] = ()
    """Further settings of the study."""
    searches: bool = True
    """Whether the fault disturbs a search, which is then compared with the undisturbed one."""

    @property
    def name(self) -> str:
        return self.act.__name__.replace("_", "-")


HANGING_SOON = ("base.compute.patience=15",)
LONGER = ("budget.brackets=3",)
DIVERGING = ("base.optim.kind=adamw", "base.optim.weight_decay=1000", "space.hyperparameters.0.upper=1")
SLOW = (
    "base.model.channels=[64, 128, 256]",
    "base.model.kernels=[65, 33, 17]",
    "base.model.feedforward=512",
    "base.batch_size=8",
    "base.folds.segments=400",
    "budget.min=2",
    "budget.max=2",
    "budget.evaluations=3",
    "budget.brackets=null",
)
"""An epoch takes seconds, so that a worker can be ended before its first one."""
HUGE = ("space.hyperparameters.1={name: model.feedforward, type: categorical, choices: [16, 24, 32, 4000000000]}",)

FAULTS = [
    Fault(deaths.driver_killed),
    Fault(deaths.worker_killed),
    Fault(deaths.worker_killed_again, settings=SLOW),
    Fault(deaths.worker_crashed, settings=SLOW, searches=False),
    Fault(deaths.raylet_killed),
    Fault(deaths.agent_killed),
    Fault(deaths.gcs_killed),
    Fault(deaths.terminated),
    Fault(deaths.worker_hangs, settings=HANGING_SOON),
    Fault(deaths.driver_suspended, settings=HANGING_SOON),
    Fault(deaths.two_drivers),
    Fault(deaths.clock_set_back),
    Fault(deaths.loss_not_a_number, settings=DIVERGING),
    Fault(deaths.out_of_memory, settings=HUGE),
    Fault(deaths.mlflow_killed),
    Fault(deaths.mlflow_hangs),
    Fault(deaths.database_locked),
    Fault(deaths.teardown_beside_another),
    Fault(damage.disk_full_for_checkpoints),
    Fault(damage.disk_full_for_the_journal),
    Fault(damage.checkpoint_cut),
    Fault(damage.checkpoint_flipped),
    Fault(damage.checkpoint_planted),
    Fault(damage.journal_torn),
    Fault(damage.journal_flipped),
    Fault(damage.journal_cut),
    Fault(damage.study_changed),
    Fault(machine.gcs_suspended),
    Fault(machine.raylet_suspended),
    Fault(machine.machine_suspended),
    Fault(machine.memory_taken, settings=LONGER),
    Fault(machine.no_memory_left),
    Fault(machine.ray_folder_deleted, settings=LONGER),  # else it can end before Ray is checked
    Fault(machine.tune_folder_deleted),
    Fault(machine.temporary_disk_full),
    Fault(machine.long_temporary_path),
    Fault(machine.few_open_files),
    Fault(machine.hung_up),
    Fault(files.results_renamed),
    Fault(files.results_deleted),
    Fault(files.lock_deleted),
    Fault(files.journal_immutable),
    Fault(files.another_user),
    Fault(files.tracking_replaced),
    Fault(commands.append_killed, searches=False),
    Fault(commands.fuse_killed, searches=False),
    Fault(commands.crossval_killed, searches=False),
    Fault(commands.report_killed),
    Fault(commands.best_killed),
    Fault(commands.fresh_killed, searches=False),
    Fault(tables.reproduce_killed, searches=False),
    Fault(hostile.secrets),
    Fault(hostile.off_the_network),
]


@dataclass(frozen=True)
class Reference:
    """The undisturbed search."""

    table: list[dict]
    records: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """The result of one try."""

    fault: str
    seed: int
    survived: bool
    lost: int | None
    extra: float
    why: str = ""


def undisturbed(store: Path, settings: tuple[str, ...]) -> Reference:
    """Run the search without a fault, and check it in the same way."""
    bench = Bench(store, seed=0, settings=settings)
    try:
        since = time.monotonic()
        bench.search().finish()
        seconds = time.monotonic() - since
        check(bench)
        return Reference(bench.table(), bench.records(), seconds)
    finally:
        bench.end()


def attempt(fault: Fault, store: Path, *, seed: int, undisturbed: Callable[[tuple[str, ...]], Reference]) -> Result:
    """Try a fault once."""
    try:
        reference = undisturbed(fault.settings) if fault.searches else Reference([], 0, 0.0)
    except BrokenPromiseError as error:
        return Result(fault.name, seed, survived=False, lost=None, extra=0.0, why=str(error))
    bench = Bench(store, seed=seed, settings=fault.settings)
    since = time.monotonic()
    lost, why = None, ""
    try:
        fault.act(bench, reference.records)
        seconds = time.monotonic() - since
        bench.require_no_tracebacks()
        if fault.searches:
            check(bench)
        lost = lost_results(bench.table(), reference.table) if fault.searches else 0
        why = f"{lost} rows differ from those of the undisturbed search" if lost else ""
    except BrokenPromiseError as error:
        seconds, why = time.monotonic() - since, str(error)
    except Exception:  # noqa: BLE001 (an exception of the bench is a result too)
        seconds, why = time.monotonic() - since, traceback.format_exc(limit=-3)
    finally:
        bench.end()
    return Result(fault.name, seed, not why, lost, seconds - reference.seconds, why)


def rows(results: list[Result]) -> list[str]:
    """Return the table, a line per fault."""
    lines = ["| fault | tries | survived | lost results | extra seconds |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(result.fault for result in results):
        tries = [result for result in results if result.fault == name]
        survived = sum(result.survived for result in tries)
        counted = [result.lost for result in tries if result.lost is not None]
        lost = str(sum(counted)) if len(counted) == len(tries) else "unknown"
        extra = statistics.median(result.extra for result in tries)
        lines.append(f"| {name} | {len(tries)} | {survived} | {lost} | {extra:+.0f} |")
    return lines


@click.command()
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([fault.name for fault in FAULTS]),
    help="Run only this fault; can be given several times.",
)
@click.option("--times", default=2, show_default=True, help="Tries per fault.")
@click.option("--seed", default=1, show_default=True, help="Seed of the first try; each further try has the next one.")
@click.option(
    "--log", type=click.Path(path_type=Path), help="File of results: new ones are added, and the table has all."
)
def main(only: tuple[str, ...], *, times: int, seed: int, log: Path | None) -> None:
    """Run searches with faults, and print a table."""
    results: list[Result] = []
    with synthetic_store() as store:
        reference = cache(lambda settings: undisturbed(store, settings))
        for fault in [fault for fault in FAULTS if not only or fault.name in only]:
            for number in range(seed, seed + times):
                result = attempt(fault, store, seed=number, undisturbed=reference)
                click.echo(f"{result.fault} seed {number}: {'survived' if result.survived else result.why}", err=True)
                results.append(result)
                if log is not None:
                    with log.open("a") as file:
                        file.write(json.dumps(asdict(result)) + "\n")
    failed = not all(result.survived for result in results)
    if log is not None:
        results = [Result(**json.loads(line)) for line in log.read_text().splitlines()]
    click.echo("\n".join(rows(results)))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
