"""Check of the host keys of ``ray up``: whether SSH refuses a machine that only pretends to be one of the cluster."""

import re
import shutil
import subprocess
from pathlib import Path

from emotune.doctor.findings import Finding, ok, warning

CLUSTER_FILE = "cluster.yaml"
ADDRESSES = re.compile(r"^\s*(?:head_ip|worker_ips):\s*([^#\n]*)", re.MULTILINE)
"""Addresses of the hosts in the file of a cluster."""

RAY_OPTIONS = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
"""Options of every SSH command of ``ray up`` (SSHOptions in ray/autoscaler/_private/command_runner.py)."""


def check_host_keys(folder: Path) -> Finding:
    """Check that ``ssh`` checks host keys although Ray turns that off.

    Args:
        folder: Folder in which ``ray up`` would be called.
    """
    file = folder / CLUSTER_FILE
    addresses = ADDRESSES.findall(file.read_text(errors="replace")) if file.is_file() else []
    hosts = [word for text in addresses for word in re.split(r"[\s,\[\]\"']+", text) if word]
    if all(host.startswith("127.") for host in hosts):
        return ok("host keys", f"{CLUSTER_FILE} names no other host" if file.is_file() else f"no {CLUSTER_FILE} here")
    ssh = shutil.which("ssh")
    if ssh is not None and _checks_keys(ssh):
        return ok("host keys", "ssh checks them, also for ray up")
    return warning(
        "host keys",
        f"ray up checks none, so another machine could pose as {hosts[0]}",
        "put deploy/checked-ssh first in PATH (docs/security.md)",
    )


def _checks_keys(ssh: str) -> bool:
    """Return whether ``ssh`` with Ray's options would check the key of a host; it prints its settings only."""
    try:
        done = subprocess.run(
            [ssh, "-G", *RAY_OPTIONS, "host"], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(re.search(r"^stricthostkeychecking (true|yes|ask)", done.stdout, flags=re.MULTILINE))
