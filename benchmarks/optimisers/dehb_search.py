"""DEHB through its ask/tell interface. Values that were trained before resume from their checkpoint."""

import tempfile
from collections.abc import Sequence

from dehb import DEHB

from benchmarks.optimisers.checkpoints import Checkpoints
from benchmarks.optimisers.global_numpy import GlobalNumpy
from benchmarks.problems import EPOCHS, LADDER
from benchmarks.simulation import Task, Work


class Dehb:
    """DEHB with its defaults. With ``n_workers=1`` it starts no cluster; it can still be asked for several jobs."""

    def __init__(self, task: Task) -> None:
        task.space.seed(task.seed)
        self._folder = tempfile.TemporaryDirectory()
        self._random = GlobalNumpy(task.seed)
        self._checkpoints = Checkpoints()
        with self._random.lent():
            self._dehb = DEHB(
                cs=task.space,
                min_fidelity=LADDER[0],
                max_fidelity=EPOCHS,
                eta=3,
                n_workers=1,
                seed=task.seed,
                save_freq="end",
                output_path=self._folder.name,
                log_level="CRITICAL",
            )

    def ask(self) -> Work:
        """Return the next job, from the checkpoint of its values if there is one."""
        with self._random.lent():
            job = self._dehb.ask()
        values = dict(job["config"])
        end = round(job["fidelity"])
        start = self._checkpoints.epochs(values)
        self._checkpoints.trained(values, epochs=end)
        # DEHB does not check for repeated values: the same values at the same rung cost another evaluation
        return Work(job, values, start if start < end else 0, end)

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Report the last loss."""
        with self._random.lent():
            self._dehb.tell(work.key, {"fitness": losses[-1], "cost": float(len(losses))})  # pyright: ignore[reportArgumentType]
