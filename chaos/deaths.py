"""Faults of processes and of what they depend on: deaths, hangs, servers that do not respond, clocks."""

import contextlib
import itertools
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.servers import Mlflow
from chaos.bench import MARK, Bench, Driver, is_alive, kill, require
from emotune.runtime.crashes import crash_file
from emotune.runtime.failures import RULES
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
    """Send SIGKILL to the driver, twice."""
    for count in sorted({bench.some_record(total), bench.some_record(total)}):
        driver = bench.search()
        bench.wait_for_records(count, driver=driver)
        driver.process.kill()
        driver.wait()
    bench.search().finish()


def worker_killed(bench: Bench, total: int) -> None:
    """Send SIGKILL to a worker."""
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    bench.wait_until(driver.workers, driver=driver)
    kill(bench.chance.choice(driver.workers()))
    driver.finish(saying="is tried again")


def worker_killed_again(bench: Bench, total: int) -> None:
    """Send SIGKILL to each worker of an evaluation before it has trained: the search stops, and resumes later."""
    del total
    driver = bench.search()
    for _ in range(RULES["worker_lost"].retries + 1):
        end_first_worker(bench, driver, by=signal.SIGKILL)
    driver.refuse(code=1, saying="find what ends the worker processes")
    require(not bench.failed(), f"failed: {bench.failed()[:1]}")
    bench.search().finish()


def worker_crashed(bench: Bench, total: int) -> None:
    """Send SIGSEGV to each worker of an evaluation before it has trained: it fails, and the search continues."""
    del total
    driver = bench.search()
    for _ in range(RULES["program_error"].retries + 1):
        end_first_worker(bench, driver, by=signal.SIGSEGV)
    driver.finish()
    failed = [(record.evaluation_id, record.error) for record in bench.failed()]
    require(failed == [(0, "the worker process crashed: Segmentation fault")], f"failed: {failed}")


def end_first_worker(bench: Bench, driver: Driver, *, by: signal.Signals) -> None:
    """Send a signal to the worker of evaluation 0 as soon as it works on it."""
    file = str(crash_file(bench.folder, evaluation_id=0))

    def workers() -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return [worker for worker in driver.workers() if file in {opened.path for opened in worker.open_files()}]
        return []

    bench.wait_until(workers, driver=driver)
    (worker,) = workers()
    worker.send_signal(by)
    bench.wait_until(lambda: not is_alive(worker), driver=driver)


def raylet_killed(bench: Bench, total: int) -> None:
    """Send SIGKILL to the node's raylet; the driver dies with it."""
    _kill_rays(bench, total, "raylet/raylet")


def gcs_killed(bench: Bench, total: int) -> None:
    """Send SIGKILL to Ray's GCS server."""
    _kill_rays(bench, total, "gcs_server")


def agent_killed(bench: Bench, total: int) -> None:
    """Send SIGKILL to an agent process of the node; the raylet ends with it, and the driver starts Ray again."""
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    kill(driver.find("ray::DashboardAgent"))
    driver.finish(saying="has died; Ray is started again")


def _kill_rays(bench: Bench, total: int, program: str) -> None:
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    kill(driver.find(program))
    code = driver.wait()
    require(code != 0 or bench.status()["state"] == "finished", "a driver without Ray reports success")
    bench.search().finish()


def terminated(bench: Bench, total: int) -> None:
    """Send SIGTERM to the driver, as a scheduler does."""
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    since = time.monotonic()
    driver.process.send_signal(signal.SIGTERM)
    code = driver.wait()
    require(code == 128 + signal.SIGTERM, f"exit code {code}")
    require(time.monotonic() - since < 25, "it took longer than 25 s")
    require("Resume with" in driver.errors, "the driver did not print how to resume")
    bench.search().finish()


def worker_hangs(bench: Bench, total: int) -> None:
    """Send SIGSTOP to a worker."""
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    bench.wait_until(driver.workers, driver=driver)
    bench.chance.choice(driver.workers()).suspend()
    driver.finish(saying="hung: no epoch in")


def driver_suspended(bench: Bench, total: int) -> None:
    """Send SIGSTOP to the driver for 25 s, as on a laptop that sleeps: no trial counts as hung."""
    driver = bench.search()
    bench.wait_for_records(bench.some_record(total), driver=driver)
    driver.process.send_signal(signal.SIGSTOP)
    time.sleep(25)
    driver.process.send_signal(signal.SIGCONT)
    require("hung" not in driver.finish(), "a trial counts as hung")


def two_drivers(bench: Bench, total: int) -> None:
    """Start the same command twice at the same time."""
    del total
    drivers = [bench.search(), bench.search()]
    codes = [driver.wait() for driver in drivers]
    require(sorted(codes) == [0, 2], f"exit codes {codes}: {[driver.errors[-300:] for driver in drivers]}")
    refused = drivers[codes.index(2)]
    refused.refuse(code=2, saying="another driver is running this search")


def clock_set_back(bench: Bench, total: int) -> None:
    """Set the wall clock of driver and workers back by an hour, then forward by two.

    It is changed in Python, because ``time.sleep`` of Python 3.11 fails under libfaketime 0.9.10.
    """
    clock = bench.root / "clock"
    clock.write_text("0")
    (bench.root / "sitecustomize.py").write_text(SHIFTED_CLOCK)
    path = os.pathsep.join([str(bench.root), *filter(None, [os.environ.get("PYTHONPATH")])])
    bench.environment |= {"PYTHONPATH": path, "SHIFTED_CLOCK": str(clock)}
    driver = bench.search()
    for count, shift in zip(sorted({total // 4, total // 2}), ("-3600", "+7200"), strict=True):
        bench.wait_for_records(count, driver=driver)
        clock.write_text(shift)
    driver.finish()
    bench.environment.clear()
    times = [record.time for record in read_journal(LocalLog(bench.journal))]
    require(max(times) - min(times) > 3600, "the clock did not jump")
    require(any(later < earlier - 60 for earlier, later in itertools.pairwise(times)), "it never went back")


def loss_not_a_number(bench: Bench, total: int) -> None:
    """Use learning rates that make configurations diverge, and kill the driver in between."""
    driver_killed(bench, total)
    _require_some_failed(bench)
    require(all(record.error for record in bench.failed()), f"no reason is given: {bench.failed()[:1]}")


def _require_some_failed(bench: Bench) -> None:
    failed, evaluations = len(bench.failed()), len(bench.status()["evaluations"])
    require(0 < failed < evaluations, f"{failed} of {evaluations} evaluations failed")


def out_of_memory(bench: Bench, total: int) -> None:
    """Let some configurations request more memory than there is: they fail, and the others are not disturbed."""
    del total
    errors = bench.search().finish()
    _require_some_failed(bench)
    require("is tried again" in errors, "it was not tried again")
    kinds = {record.failure_kind for record in bench.failed()}
    require(kinds == {"out_of_memory"}, f"the failures are {kinds}")


def start_mlflow(bench: Bench) -> Mlflow:
    """Start an MLflow server for the search, with a database beside the results."""
    variables = {MARK: bench.mark}
    server = Mlflow(folder=bench.root, database=f"sqlite:///{bench.root / 'server.db'}", variables=variables)
    bench.tracking = server.uri
    server.start()
    return server


def mlflow_killed(bench: Bench, total: int) -> None:
    """Send SIGKILL to the MLflow server, and start it again after 60 s."""
    server = start_mlflow(bench)
    driver = bench.search()
    bench.wait_for_records(total // 4, driver=driver)
    server.kill()
    since = time.monotonic()
    driver.finish()
    time.sleep(max(0.0, 60 - (time.monotonic() - since)))
    server.start()
    bench.start("sync", "try").finish()


def mlflow_hangs(bench: Bench, total: int) -> None:
    """Suspend the MLflow server for 60 s: it accepts connections and does not respond."""
    server = start_mlflow(bench)
    driver = bench.search()
    bench.wait_for_records(total // 4, driver=driver)
    server.send(signal.SIGSTOP)
    since = time.monotonic()
    driver.finish()
    time.sleep(max(0.0, 60 - (time.monotonic() - since)))
    server.send(signal.SIGCONT)
    bench.start("sync", "try").finish()


def database_locked(bench: Bench, total: int) -> None:
    """Lock MLflow's database for 30 s."""
    driver = bench.search()
    bench.wait_for_records(total // 4, driver=driver)
    with locked(bench.storage / "mlflow.db"):
        time.sleep(30)
    driver.finish()
    bench.start("sync", "try").finish()


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Lock a database for reading and writing."""
    connection = sqlite3.connect(database, timeout=30, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def teardown_beside_another(bench: Bench, total: int) -> None:
    """End another search on the same machine, and kill a third one, while this search runs."""
    neighbour = bench.start(*_neighbour(bench, "neighbour"))
    killed = bench.start(*_neighbour(bench, "killed"))
    driver = bench.search()
    bench.wait_for_records(total // 4, driver=driver)
    killed.process.kill()
    neighbour.process.send_signal(signal.SIGTERM)
    neighbour.wait()
    require(driver.process.poll() is None, "it ended with another search")
    require("is tried again" not in driver.finish(), "its workers ended with another search")


def _neighbour(bench: Bench, name: str) -> list[str]:
    sets = ["--set", "base.folds.segments=48", "--set", "base.batch_size=16", "--set", "budget.max=27"]
    return ["search", "smoke", "--store", str(bench.store), "--name", name, "--concurrency", "1", *sets]
