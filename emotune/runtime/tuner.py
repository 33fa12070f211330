"""Ray and Tune as the search uses them: connect, run one trial per evaluation, end in order."""

import contextlib
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from types import FrameType, MappingProxyType
from typing import Any

import ray
from ray import tune
from ray.tune.stopper import Stopper

from emotune.errors import SettingsError
from emotune.runtime.cluster.access import guard_token, is_announced, keep_to_this_machine
from emotune.runtime.cluster.group_size import obtainable, share
from emotune.runtime.group import GroupTrainable
from emotune.runtime.tune_adapter import CoordinatorSearcher, TrialCallback
from emotune.runtime.worker import EvaluationTrainable

logger = logging.getLogger(__name__)


class StopWhenAsked(Stopper):
    """Tells Tune when to end a trial, and when to end all: a signal has come, or the search is over.

    Tune shows every result to the stopper first, so that it is here that the searcher takes them.
    """

    def __init__(self, searcher: CoordinatorSearcher) -> None:
        self.signal: signal.Signals | None = None
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tell whether the trial's worker goes on with another evaluation now."""
        return self._searcher.take(trial_id, result=result)

    def stop_all(self) -> bool:
        """Tell whether everything shall end now."""
        return self.signal is not None or self._searcher.over

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing in Tune's own files."""
        return {}


def connect(cpus: int, *, dashboard: bool = False) -> None:
    """Connect to the cluster that Ray finds, or start one on this machine, which only this machine can reach.

    Args:
        cpus: For how many a cluster on this machine makes room at least.
        dashboard: Start Ray's dashboard too, without which Ray Train leaves the place of a killed group reserved.
    """
    if ray.is_initialized():
        return
    _set_defaults()
    local = {"address": "local", "num_cpus": max(cpus, os.cpu_count() or 1), "include_dashboard": dashboard}
    found = running_cluster() is not None
    guard_token(make=not found)
    if not found:
        keep_to_this_machine()
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **({} if found else local))


def running_cluster() -> str | None:
    """Return the address of the cluster that a driver on this machine finds; None if it has to start one."""
    started = "auto" if is_announced() else "local"
    address = os.environ.get("RAY_ADDRESS", started)
    return None if address == "local" else address


def connect_for(workers: tuple[int, int] | None, *, threads: int, trials: int | None) -> None:
    """Connect to a cluster for trials that so many workers share each.

    Args:
        workers: Fewest and most workers of a group; None: one worker per trial, without a group.
        threads: CPUs of a worker in a group without GPUs.
        trials: Trials at a time, for which a cluster on this machine makes room.

    Raises:
        SettingsError: A fixed number of workers was asked for, and the cluster has no room for it.
    """
    if workers is None:
        connect(trials or 1)
        return
    fewest, most = workers
    connect((trials or 1) * most * threads, dashboard=True)
    there = obtainable(threads)
    if fewest == most > there:
        takes = " and ".join(f"{amount:g} {name}" for name, amount in share(threads).items())
        raise SettingsError(
            f"{most} workers were asked for, of {takes} each, and the cluster has room for {there}; give fewer, or a "
            f"range such as 1..{most}: it takes what there is, and more when it comes"
        )


def _set_defaults() -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    # what goes wrong in a trial is told by the search itself, in a line
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def place_beside_driver() -> tune.PlacementGroupFactory:
    """Return what a trial takes that computes nothing itself: room on the driver's node, which is there to stay."""
    return tune.PlacementGroupFactory([{"CPU": 0.0, f"node:{ray.util.get_node_ip_address()}": 0.001}])


def carry_out(
    searcher: CoordinatorSearcher,
    *,
    trainable: type[tune.Trainable] = EvaluationTrainable,
    takes: Mapping[str, float] = MappingProxyType({"CPU": 1.0}),
) -> signal.Signals | None:
    """Let Tune carry out what the searcher hands out, until it is finished, failed or a signal comes.

    Tune's own files are only a cache and go to a temporary folder.

    Args:
        searcher: Hands out the jobs.
        trainable: Carries out a job.
        takes: What a trial takes of the cluster's resources, unless it is a group's, which computes nothing itself.

    Returns:
        The signal that ended it, if one did.
    """
    stopper = StopWhenAsked(searcher)
    beside = issubclass(trainable, GroupTrainable)
    resources = place_beside_driver() if beside else tune.PlacementGroupFactory([dict(takes)])
    scratch = tempfile.mkdtemp(prefix="emotune-tune-")
    try:
        with _signals(stopper):
            tune.Tuner(
                tune.with_resources(trainable, resources),
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    num_samples=-1,
                    max_concurrent_trials=searcher.concurrency,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name="search",
                    storage_path=scratch,
                    callbacks=[TrialCallback(searcher)],
                    stop=stopper,
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=0),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            ).fit()
        return stopper.signal
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _signals(stopper: StopWhenAsked) -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into an orderly end, and the second into an immediate one."""

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        if stopper.signal is not None:
            raise KeyboardInterrupt
        stopper.signal = signal.Signals(number)
        logger.warning("%s: saving and stopping; once more ends at once", stopper.signal.name)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
