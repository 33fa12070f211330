"""Checks of a cluster: versions and clocks of its hosts against the driver's, and access to its dashboard."""

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from emotune.doctor.findings import Finding, failure, ok, warning
from emotune.doctor.host import COMPARED, HostReport

MAX_CLOCK_OFFSET_S = 2.0
"""Largest accepted offset of a host's clock from the driver's. Clocks only affect the times shown in tables."""


REQUEST_TIMEOUT_S = 5
"""Timeout of the request to the dashboard."""


@dataclass(frozen=True)
class HostReply:
    """The report and the clock of a host of the cluster."""

    host: str
    report: HostReport
    clock: float
    """The host's clock (s since 1970)."""
    sent: float
    """Time at which the driver sent the request for the clock (s since 1970, driver's clock)."""
    received: float
    """Time at which the driver received the reply (s since 1970, driver's clock)."""


def compare_hosts(replies: list[HostReply], *, driver_versions: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the findings of each host: its own checks, and its versions and clock against the driver's.

    Args:
        replies: Report and clock of each host.
        driver_versions: The driver's versions.
    """
    for reply in replies:
        findings = [
            *reply.report.findings,
            _check_versions(reply.report.versions, expected=driver_versions),
            _check_clock(reply),
        ]
        yield from (replace(finding, host=reply.host) for finding in findings)


def _check_versions(installed: Mapping[str, str], *, expected: Mapping[str, str]) -> Finding:
    different = [
        f"{name} {installed[name]} in place of {expected[name]}"
        for name in COMPARED
        if installed[name] != expected[name]
    ]
    if different:
        return failure(
            "versions",
            ", ".join(different),
            "install the same versions on all hosts: run ray up again, or use one image",
        )
    return ok("versions", "the same as the driver's")


def _check_clock(reply: HostReply) -> Finding:
    """Check the offset ``clock - (sent + received) / 2``, known to within ``(received - sent) / 2``."""
    offset = reply.clock - (reply.sent + reply.received) / 2
    uncertainty = (reply.received - reply.sent) / 2
    observed = f"{offset:+.1f} s from the driver's (within {uncertainty:.1f} s)"
    if abs(offset) - uncertainty > MAX_CLOCK_OFFSET_S:
        return warning("clock", observed, "synchronise the hosts' clocks (chrony, systemd-timesyncd)")
    return ok("clock", observed)


def check_dashboard(address: str | None, *, loopback_only: bool) -> Finding:
    """Check that Ray's dashboard, which can start programs, requires a token.

    Args:
        address: Host and port; None if there is no dashboard.
        loopback_only: True if it only accepts connections from this machine.
    """
    if not address:
        return ok("dashboard", "none")
    url = f"http://{address}" + (" (this machine only)" if loopback_only else "")
    status = _status_without_token(f"http://{address}/api/jobs/")
    if status in {401, 403}:
        return ok("dashboard", f"{url}: refuses requests without a token")
    if status == 0:
        return warning("dashboard", f"{url}: no response", "read dashboard.log in Ray's session folder")
    if loopback_only:
        return warning(
            "dashboard",
            f"{url}: accepts programs without a token from every user of this machine",
            "set RAY_AUTH_MODE=token where Ray is started",
        )
    return failure(
        "dashboard",
        f"{url}: accepts programs without a token from every machine that can connect to it",
        "set RAY_AUTH_MODE=token where Ray is started, or use --dashboard-host=127.0.0.1 and an SSH tunnel",
    )


def _status_without_token(url: str) -> int:
    """Return the HTTP status of a request without a token; 0 without a response."""
    try:
        with urllib.request.urlopen(url, timeout=REQUEST_TIMEOUT_S) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
