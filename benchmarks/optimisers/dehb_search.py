"""DEHB by ask and tell. Its children are new configurations; where values were trained before, they go on."""

import tempfile
from collections.abc import Sequence

from dehb import DEHB

from benchmarks.optimisers.checkpoints import Checkpoints
from benchmarks.optimisers.global_numpy import GlobalNumpy
from benchmarks.problems import EPOCHS, LADDER
from benchmarks.simulation import Task, Work


class Dehb:
    """DEHB with its defaults. With one worker of its own, it starts no cluster; asking ahead works all the same."""

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
        """Ask for a job; what was trained as far before is told at once."""
        with self._random.lent():
            job = self._dehb.ask()
        values = dict(job["config"])
        end = round(job["fidelity"])
        start = self._checkpoints.epochs(values)
        self._checkpoints.trained(values, epochs=end)
        # the same values at the same rung again cost an evaluation, as DEHB does not look
        return Work(job, values, start if start < end else 0, end)

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Tell the last loss."""
        with self._random.lent():
            self._dehb.tell(work.key, {"fitness": losses[-1], "cost": float(len(losses))})  # pyright: ignore[reportArgumentType]
