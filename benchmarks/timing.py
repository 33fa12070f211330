"""Programs timed side by side: in turn, in one process, so that what else the machine does falls on all alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Clock:
    """Seconds of the wall and of this process's CPU time."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "Clock":
        """Read both clocks, when the GPU has done all it was given."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return cls(time.perf_counter(), time.process_time())

    def since(self, earlier: "Clock") -> "Clock":
        """Return what went by."""
        return Clock(self.wall - earlier.wall, self.cpu - earlier.cpu)

    def seconds(self, device: str) -> float:
        """Return the figure of merit: CPU seconds on a CPU, seconds of the wall elsewhere."""
        return self.cpu if device == "cpu" else self.wall


@dataclass
class Rounds:
    """What one program took in each round."""

    segments: int
    """Segments per round."""
    took: list[Clock] = field(default_factory=list)

    def speeds(self, device: str) -> list[float]:
        """Return segments per second of each round (per CPU second on a CPU)."""
        return [self.segments / clock.seconds(device) for clock in self.took]

    def wall_speed(self) -> float:
        """Return segments per second of the wall, the median."""
        return statistics.median(self.segments / clock.wall for clock in self.took)


def side_by_side(
    programs: Mapping[str, Callable[[], object]], *, segments: Mapping[str, int], seconds: float, least: int = 3
) -> dict[str, Rounds]:
    """Run programs in turn, forwards and then backwards, after one round that does not count.

    Args:
        programs: What to run once per round.
        segments: How many segments each goes through in a round.
        seconds: Begin no further round after so long.
        least: Rounds there are in any case.
    """
    results = {name: Rounds(segments[name]) for name in programs}
    for program in programs.values():
        program()
    names = list(programs)
    begun = time.perf_counter()
    while len(results[names[0]].took) < least or time.perf_counter() - begun < seconds:
        for name in names:
            earlier = Clock.now()
            programs[name]()
            results[name].took.append(Clock.now().since(earlier))
        names.reverse()
    return results


def spread(values: Sequence[float], *, digits: int = 3) -> str:
    """Return the median with the smallest and the largest of some numbers, for instance ``3.4 [3.2-3.7]``."""
    low, middle, high = (f"{value:.{digits}g}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} [{low}-{high}]"
