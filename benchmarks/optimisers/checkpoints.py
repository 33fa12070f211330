"""Checkpoints for optimisers that do not resume trials."""

from benchmarks.problems import Values

Key = tuple[tuple[str, object], ...]


class Checkpoints:
    """The number of trained epochs of each configuration; configurations are identified by their values."""

    def __init__(self) -> None:
        self._epochs: dict[Key, int] = {}

    def epochs(self, values: Values) -> int:
        """Return the number of epochs that a configuration has been trained."""
        return self._epochs.get(_key(values), 0)

    def trained(self, values: Values, *, epochs: int) -> None:
        """Record a checkpoint."""
        self._epochs[_key(values)] = max(epochs, self.epochs(values))


def _key(values: Values) -> Key:
    return tuple(sorted(values.items()))
