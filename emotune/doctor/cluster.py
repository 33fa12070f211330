"""What the hosts of a cluster say, held against each other, and whether its dashboard is open to anybody."""

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from emotune.doctor.finding import Finding, doubtful, fine, wrong
from emotune.doctor.host import COMPARED, Report

CLOCK_SECONDS = 2.0
"""Clocks that are further apart make the times of a table misleading; nothing is decided by them."""


@dataclass(frozen=True)
class Answer:
    """What a host said of itself and, in seconds since 1970, of the time."""

    host: str
    report: Report
    clock: float
    asked: float
    """When it was asked for its time, by the driver's clock."""
    came: float
    """When the answer to that came, by the driver's clock."""


def compare(answers: list[Answer], *, ours: Mapping[str, str]) -> Iterator[Finding]:
    """Return what is to be said of each host of a cluster.

    Args:
        answers: What the hosts say of themselves.
        ours: The driver's versions.
    """
    for answer in answers:
        said = [*answer.report.findings, _versions(answer.report.versions, ours=ours), _clock(answer)]
        yield from (replace(finding, host=answer.host) for finding in said)


def _versions(theirs: Mapping[str, str], *, ours: Mapping[str, str]) -> Finding:
    other = [f"{name} {theirs[name]} in place of {ours[name]}" for name in COMPARED if theirs[name] != ours[name]]
    if other:
        return wrong("versions", ", ".join(other), "bring all hosts to the same: ray up again, or the same image")
    return fine("versions", "those of the driver")


def _clock(answer: Answer) -> Finding:
    """Compare clocks as well as the time that the answer took allows."""
    ahead = answer.clock - (answer.asked + answer.came) / 2
    unsure = (answer.came - answer.asked) / 2
    said = f"{ahead:+.1f} s from the driver's (within {unsure:.1f} s)"
    if abs(ahead) - unsure > CLOCK_SECONDS:
        return doubtful("clock", said, "let the hosts keep time (chrony, systemd-timesyncd)")
    return fine("clock", said)


def check_dashboard(address: str | None, *, loopback_only: bool) -> Finding:
    """Check whether Ray's dashboard, through which programs can be started, answers to anybody.

    Args:
        address: Host and port, if there is a dashboard.
        loopback_only: Whether it listens on this machine alone.
    """
    if not address:
        return fine("dashboard", "none")
    where = f"http://{address}" + (" (this machine only)" if loopback_only else "")
    status = _status_without_token(f"http://{address}/api/jobs/")
    if status in {401, 403}:
        return fine("dashboard", f"{where}: refuses who has no token")
    if status == 0:
        return doubtful("dashboard", f"{where} does not answer", "look at its log in Ray's session folder")
    if loopback_only:
        return doubtful(
            "dashboard",
            f"{where}: every user of this machine can start programs",
            "RAY_AUTH_MODE=token where Ray starts",
        )
    return wrong(
        "dashboard",
        f"{where}: whoever reaches it can start programs",
        "RAY_AUTH_MODE=token where Ray starts, or --dashboard-host=127.0.0.1 and an SSH tunnel",
    )


def _status_without_token(url: str) -> int:
    """Return the status of an answer; 0 if there is none."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
