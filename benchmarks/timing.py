"""Compare the speed of programs: in turn, in one process, so that other load on the machine affects all equally."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Clock:
    """Wall-clock time and CPU time of this process, in seconds."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "Clock":
        """Read both clocks, after waiting for the GPU."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return cls(time.perf_counter(), time.process_time())

    def since(self, earlier: "Clock") -> "Clock":
        """Return the time since an earlier reading."""
        return Clock(self.wall - earlier.wall, self.cpu - earlier.cpu)

    def seconds(self, device: str) -> float:
        """Return the time that counts: CPU seconds on a CPU, wall-clock seconds on other devices."""
        return self.cpu if device == "cpu" else self.wall


@dataclass
class Rounds:
    """The times of one program, by round."""

    segments: int
    """Segments per round."""
    took: list[Clock] = field(default_factory=list)

    def speeds(self, device: str) -> list[float]:
        """Return the segments per second of each round (on a CPU: per CPU second)."""
        return [self.segments / clock.seconds(device) for clock in self.took]

    def wall_speed(self) -> float:
        """Return the median of the segments per wall-clock second."""
        return statistics.median(self.segments / clock.wall for clock in self.took)


def side_by_side(
    programs: Mapping[str, Callable[[], object]], *, segments: Mapping[str, int], seconds: float, least: int = 3
) -> dict[str, Rounds]:
    """Run programs in turn, in alternating order, after one round that is not measured.

    Args:
        programs: Functions that are called once per round.
        segments: Number of segments that each processes in a round.
        seconds: Duration after which no further round is started.
        least: Minimal number of rounds.
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
    """Return the median, the smallest and the largest of some numbers, for example ``3.4 [3.2-3.7]``."""
    low, middle, high = (f"{value:.{digits}g}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} [{low}-{high}]"
