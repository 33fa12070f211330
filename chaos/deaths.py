"""Faults of processes and of what they depend on: deaths, silence, servers that are away, clocks."""

import contextlib
import itertools
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.servers import Mlflow
from chaos.bench import MARK, Bench, kill, require
from emotune.search.records import Ended
from emotune.storage import LocalLog
from emotune.study.journal import read_journal

SHIFTED_CLOCK = """
import os
import time

real = time.time


def shifted():
    with open(os.environ["SHIFTED_CLOCK"]) as file:
        return real() + float(file.read() or 0)


time.time = shifted
"""


def driver_killed(bench: Bench, total: int) -> None:
    """Signal 9 to the driver, twice."""
    for place in sorted({bench.some_record(total), bench.some_record(total)}):
        driver = bench.search()
        bench.wait_for_records(place, driver=driver)
        driver.process.kill()
        driver.wait()
    bench.search().finish()


def worker_killed(bench: Bench, total: int) -> None:
    """Signal 9 to a process that trains."""
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    bench.wait_until(driver.workers, driver=driver)
    kill(bench.chance.choice(driver.workers()))
    require("is tried again" in driver.finish(), "nobody noticed")


def raylet_killed(bench: Bench, total: int) -> None:
    """Signal 9 to Ray's process of the node, which takes the driver with it."""
    _kill_rays(bench, total, "raylet/raylet")


def gcs_killed(bench: Bench, total: int) -> None:
    """Signal 9 to Ray's head process."""
    _kill_rays(bench, total, "gcs_server")


def _kill_rays(bench: Bench, total: int, program: str) -> None:
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    kill(driver.find(program))
    code = driver.wait()
    require(code != 0 or bench.status()["state"] == "finished", "a driver without Ray says that all is well")
    bench.search().finish()


def terminated(bench: Bench, total: int) -> None:
    """SIGTERM to the driver, as from a scheduler or before a node is taken away."""
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    since = time.monotonic()
    driver.process.send_signal(signal.SIGTERM)
    code = driver.wait()
    require(code == 128 + signal.SIGTERM, f"exit code {code}")
    require(time.monotonic() - since < 25, "it took longer than a scheduler waits")
    require("Resume with" in driver.errors, "the driver did not print how to resume")
    bench.search().finish()


def worker_hangs(bench: Bench, total: int) -> None:
    """SIGSTOP to a process that trains."""
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    bench.wait_until(driver.workers, driver=driver)
    bench.chance.choice(driver.workers()).suspend()
    require("hung: no epoch in" in driver.finish(), "nobody noticed")


def driver_suspended(bench: Bench, total: int) -> None:
    """SIGSTOP to the driver for 25 seconds, as on a laptop that sleeps: nobody is to be taken for hung."""
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    driver.process.send_signal(signal.SIGSTOP)
    time.sleep(25)
    driver.process.send_signal(signal.SIGCONT)
    require("hung" not in driver.finish(), "somebody was taken for hung")


def two_drivers(bench: Bench, total: int) -> None:
    """The same command twice at the same moment."""
    del total
    drivers = [bench.search(), bench.search()]
    codes = [driver.wait() for driver in drivers]
    require(sorted(codes) == [0, 2], f"exit codes {codes}: {[driver.errors[-300:] for driver in drivers]}")
    refused = drivers[codes.index(2)]
    refused.refuse(code=2, saying="another driver is running this search")


def clock_set_back(bench: Bench, total: int) -> None:
    """The wall clock that driver and workers read goes back by an hour, then forward by two.

    It is changed in Python: below it, libfaketime 0.9.10 makes ``time.sleep`` of Python 3.11 fail.
    """
    clock = bench.root / "clock"
    clock.write_text("0")
    (bench.root / "sitecustomize.py").write_text(SHIFTED_CLOCK)
    path = os.pathsep.join([str(bench.root), *filter(None, [os.environ.get("PYTHONPATH")])])
    bench.environment |= {"PYTHONPATH": path, "SHIFTED_CLOCK": str(clock)}
    driver = bench.search()
    for place, shift in zip(sorted({total // 4, total // 2}), ("-3600", "+7200"), strict=True):
        bench.wait_for_records(place, driver=driver)
        clock.write_text(shift)
    driver.finish()
    bench.environment.clear()
    times = [record.time for record in read_journal(LocalLog(bench.journal))]
    require(max(times) - min(times) > 3600, "the clock did not jump")
    require(any(later < earlier - 60 for earlier, later in itertools.pairwise(times)), "it never went back")


def loss_not_a_number(bench: Bench, total: int) -> None:
    """Learning rates far too large: those configurations diverge, and the search is killed in between."""
    driver_killed(bench, total)
    ended = [one for one in read_journal(LocalLog(bench.journal)) if isinstance(one, Ended)]
    failed = [one for one in ended if one.status == "failed"]
    require(0 < len(failed) < len(ended), f"{len(failed)} of {len(ended)} diverged")
    require(all(one.error for one in failed), f"no reason is given: {failed[:1]}")


def out_of_memory(bench: Bench, total: int) -> None:
    """Some configurations ask for more memory than there is: they fail, are the worst, and the others go on."""
    del total
    errors = bench.search().finish()
    ended = [one for one in read_journal(LocalLog(bench.journal)) if isinstance(one, Ended)]
    failed = [one for one in ended if one.status == "failed"]
    require(0 < len(failed) < len(ended), f"{len(failed)} of {len(ended)} failed")
    require("is tried again" in errors, "it was not tried again")
    require(all("allocate" in (one.error or "").lower() or "memory" in (one.error or "").lower() for one in failed),
            f"failed: {failed[:1]}")  # fmt: skip


def served(bench: Bench) -> Mlflow:
    """Start an MLflow server over a database beside the results, to which the search will tell them."""
    variables = {MARK: bench.mark}
    server = Mlflow(folder=bench.root, database=f"sqlite:///{bench.root / 'server.db'}", variables=variables)
    bench.tracking = server.uri
    server.start()
    return server


def mlflow_killed(bench: Bench, total: int) -> None:
    """Signal 9 to the MLflow server, which comes back after a minute."""
    server = served(bench)
    driver = bench.search()
    bench.wait_for_records(total // 4, driver=driver)
    server.kill()
    since = time.monotonic()
    require("Traceback" not in driver.finish(), "a traceback")
    time.sleep(max(0.0, 60 - (time.monotonic() - since)))
    server.start()
    bench.start("sync", "try").finish()


def mlflow_hangs(bench: Bench, total: int) -> None:
    """The MLflow server accepts connections and answers nothing for a minute."""
    server = served(bench)
    driver = bench.search()
    bench.wait_for_records(total // 4, driver=driver)
    server.send(signal.SIGSTOP)
    since = time.monotonic()
    driver.finish()
    time.sleep(max(0.0, 60 - (time.monotonic() - since)))
    server.send(signal.SIGCONT)
    bench.start("sync", "try").finish()


def database_locked(bench: Bench, total: int) -> None:
    """Another program holds MLflow's database for 30 seconds."""
    driver = bench.search()
    bench.wait_for_records(total // 4, driver=driver)
    with exclusively(bench.storage / "mlflow.db"):
        time.sleep(30)
    driver.finish()
    bench.start("sync", "try").finish()


@contextlib.contextmanager
def exclusively(database: Path) -> Iterator[None]:
    """Hold a database so that nobody else reads or writes it."""
    connection = sqlite3.connect(database, timeout=30, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def teardown_beside_another(bench: Bench, total: int) -> None:
    """Another search on the same machine ends, and a third one is killed, while this one runs."""
    neighbour = bench.start(*_neighbour(bench, "neighbour"))
    doomed = bench.start(*_neighbour(bench, "doomed"))
    driver = bench.search()
    bench.wait_for_records(total // 4, driver=driver)
    doomed.process.kill()
    neighbour.process.send_signal(signal.SIGTERM)
    neighbour.wait()
    require(driver.process.poll() is None, "it went down with its neighbours")
    require("is tried again" not in driver.finish(), "its workers went down with its neighbours")


def _neighbour(bench: Bench, name: str) -> list[str]:
    sets = ["--set", "base.folds.segments=48", "--set", "base.batch_size=16", "--set", "budget.max=27"]
    return ["search", "smoke", "--store", str(bench.store), "--name", name, "--concurrency", "1", *sets]
