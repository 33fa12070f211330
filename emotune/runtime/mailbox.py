"""The post between a trial and its group: jobs one way, what came of them the other way."""

from collections import deque
from typing import Any, NamedTuple

Letter = dict[str, Any]
"""``reports`` (epoch and metrics, each epoch once), ``saved`` (epochs, and steps of the next one, that are in a
checkpoint), ``finished``, and ``diverged``: None or why the loss is no longer a number."""


class Word(NamedTuple):
    """What the first worker of a group is told when it asks for work."""

    job: str | None
    """The next job, if there is one."""
    stop: bool
    """Whether the group shall end."""


class Mail(NamedTuple):
    """What a trial finds when it looks into the post."""

    workers: int
    """Number of workers of the group; 0 until it has begun to work."""
    letters: list[Letter]
    """What was written since the last look, in order."""


class Post:
    """Keeps what a trial and its group have to say to each other; runs as a Ray actor beside the trial."""

    def __init__(self) -> None:
        self._jobs: deque[str] = deque()
        self._letters: list[Letter] = []
        self._stop = False
        self._workers = 0

    def hand_in(self, job: str) -> None:
        """Take a job for the group."""
        self._jobs.append(job)

    def stop(self) -> None:
        """Take the wish that the group saves and ends."""
        self._stop = True

    def ask(self, workers: int) -> Word:
        """Give the group, of so many workers, its next job or the order to end."""
        self._workers = workers
        return Word(self._jobs.popleft() if self._jobs and not self._stop else None, self._stop)

    def deliver(self, letter: Letter) -> bool:
        """Take a letter of the group, and tell whether it shall save and end."""
        self._letters.append(letter)
        return self._stop

    def collect(self) -> Mail:
        """Give the trial what was written since the last look."""
        letters, self._letters = self._letters, []
        return Mail(self._workers, letters)
