"""Trainables of users behind one interface: classes of `ray.tune.Trainable`, and functions that train an epoch."""

import inspect
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from ray import tune
from ray.tune import Checkpoint


@runtime_checkable
class Training(Protocol):
    """A trainable in a worker process."""

    def begin(self, config: Mapping[str, Any]) -> None:
        """Begin a configuration at epoch 0."""

    def load(self, folder: Path, *, epoch: int) -> None:
        """Continue the configuration from the files of `save` after an epoch."""

    def train(self, epoch: int) -> Mapping[str, Any]:
        """Train an epoch, and return its result."""
        ...

    def save(self, folder: Path) -> None:
        """Write the state into an empty folder."""

    def end(self) -> None:
        """Release what the trainable holds, before the process ends."""


class ClassTraining:
    """A subclass of `ray.tune.Trainable`: ``step`` trains an epoch.

    Args:
        target: The class.
    """

    def __init__(self, target: type[tune.Trainable]) -> None:
        self._target = target
        self._trainable: tune.Trainable | None = None
        self._scratch = ""

    @property
    def trainable(self) -> tune.Trainable:
        """The instance."""
        assert self._trainable is not None, "no configuration has begun"
        return self._trainable

    def begin(self, config: Mapping[str, Any]) -> None:
        """Begin a configuration: with ``reset_config`` of the present instance, or in a new one."""
        if self._trainable is not None:
            if self._trainable.reset(dict(config)):
                return
            self.end()
        self._scratch = tempfile.mkdtemp(prefix="emotune-logdir-")
        self._trainable = _instance(self._target, dict(config), logdir=self._scratch)

    def load(self, folder: Path, *, epoch: int) -> None:
        """Call ``load_checkpoint``."""
        self.trainable.restore(Checkpoint.from_directory(folder))  # pyright: ignore[reportArgumentType]
        self.trainable._iteration = epoch

    def train(self, epoch: int) -> Mapping[str, Any]:
        """Call ``step``."""
        del epoch
        return self.trainable.train()

    def save(self, folder: Path) -> None:
        """Call ``save_checkpoint``."""
        self.trainable.save(str(folder))

    def end(self) -> None:
        """Call ``cleanup``."""
        if self._trainable is not None:
            self._trainable.stop()
            self._trainable = None
            shutil.rmtree(self._scratch, ignore_errors=True)


def _instance(target: type[tune.Trainable], config: dict[str, Any], *, logdir: str) -> tune.Trainable:
    """Return an instance whose ``logdir`` is a given folder; Tune would make one in the user's home."""

    def set_up() -> None:
        trainable._logdir = logdir

    trainable = target.__new__(target)
    trainable._setup_logdir = set_up
    trainable.__init__(config=config)
    return trainable


class FunctionTraining:
    """A function ``train(config, epochs, checkpoint)``, which is called once per epoch.

    Args:
        target: The function.
    """

    def __init__(self, target: Callable[[dict[str, Any], int, Path], Mapping[str, Any]]) -> None:
        self._target = target
        self._config: dict[str, Any] = {}
        self._folder: Path | None = None

    def begin(self, config: Mapping[str, Any]) -> None:
        """Begin a configuration with an empty folder."""
        self.end()
        self._config = dict(config)
        self._folder = Path(tempfile.mkdtemp(prefix="emotune-checkpoint-"))

    @property
    def folder(self) -> Path:
        """The folder with the function's state."""
        assert self._folder is not None, "no configuration has begun"
        return self._folder

    def load(self, folder: Path, *, epoch: int) -> None:
        """Copy the state into the function's folder."""
        del epoch
        shutil.copytree(folder, self.folder, dirs_exist_ok=True)

    def train(self, epoch: int) -> Mapping[str, Any]:
        """Call the function.

        Raises:
            TypeError: It returned no dictionary.
        """
        result = self._target(dict(self._config), epoch, self.folder)
        if not isinstance(result, Mapping):
            name = getattr(self._target, "__name__", "the function")
            raise TypeError(f"{name} returned {type(result).__name__}; expected a dictionary of metrics")
        return result

    def save(self, folder: Path) -> None:
        """Copy the function's folder."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    def end(self) -> None:
        """Remove the folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def training_of(target: type[tune.Trainable] | Callable[..., Any]) -> Training:
    """Return a trainable behind the interface."""
    if inspect.isclass(target):
        return ClassTraining(cast(type[tune.Trainable], target))
    return FunctionTraining(target)
