"""Checkpoints for optimisers that do not know that trials can go on."""

from benchmarks.problems import Values

Key = tuple[tuple[str, object], ...]


class Checkpoints:
    """How far each configuration has been trained, known again by its values."""

    def __init__(self) -> None:
        self._epochs: dict[Key, int] = {}

    def epochs(self, values: Values) -> int:
        """Return the epochs a configuration has been trained."""
        return self._epochs.get(_key(values), 0)

    def trained(self, values: Values, *, epochs: int) -> None:
        """Take note of a checkpoint."""
        self._epochs[_key(values)] = max(epochs, self.epochs(values))


def _key(values: Values) -> Key:
    return tuple(sorted(values.items()))
