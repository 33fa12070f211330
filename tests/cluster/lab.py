"""A laboratory of simulated machines: namespaces that are connected by a switch.

Each machine has its own SSH server, address, processes, host name, home and /tmp, as a real computer has.
All share /mnt/shared. Killing a machine simulates a power failure. The laboratory is isolated. Needs root on Linux.
"""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).parents[2]
TOOLS = ("unshare", "nsenter", "ip", "rsync", "ssh", "ssh-keygen", "/usr/sbin/sshd")
SHARED = Path("/mnt/shared")
SWITCH = "10.77.0.1"
NAMESPACES = ("--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child")
BIN = Path(sys.executable).parent

BOOT = """
set -eu
hostname "$NAME"
ip link set lo up
mount --bind "$MACHINE/hosts" /etc/hosts
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd /run/keep /run/machine
mount -t tmpfs tmpfs /mnt
mkdir /mnt/shared
mount --bind "$SHARE" /mnt/shared
mount --bind "$MACHINE" /run/machine
# folders inside /root and /tmp that programs need are mounted again inside the new /root and /tmp
for folder in $KEEP; do mkdir -p "/run/keep$folder"; mount --bind "$folder" "/run/keep$folder"; done
mount --bind /run/machine/root /root
mount --bind /run/machine/tmp /tmp
for folder in $KEEP; do mkdir -p "$folder"; mount --bind "/run/keep$folder" "$folder"; done
exec /usr/sbin/sshd -D -e -f /root/sshd/config
"""

SSHD = """
HostKey /root/sshd/key
PermitRootLogin yes
StrictModes no
UsePAM no
MaxStartups 100
"""


def missing() -> str:
    """Return why this machine cannot build a laboratory; an empty text if it can."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if os.getuid() != 0:
        return "network and mount namespaces need root"
    if absent:
        return f"not installed: {', '.join(absent)}"
    tried = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip()


def hidden() -> list[Path]:
    """Return the folders that programs need and that are inside the /root or /tmp of this host."""
    needed = {PROJECT, Path(sys.prefix), Path(sys.base_prefix)}
    return sorted(path for path in needed if path.is_relative_to("/root") or path.is_relative_to("/tmp"))


@dataclass
class Machine:
    """A running machine."""

    name: str
    address: str
    folder: Path
    process: subprocess.Popen
    wire: str
    started: list[subprocess.Popen] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """Process id of its first process, in the namespace of the laboratory."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        deadline = time.monotonic() + 10
        while not (pids := children.read_text().split()):
            assert time.monotonic() < deadline, f"{self.name} does not start"
            time.sleep(0.05)
        return int(pids[0])

    def start(self, command: str) -> subprocess.Popen:
        """Start a command in a shell of this machine, in the folder of the project."""
        inside = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--uts", "--pid", "--"]
        environment = {"HOME": "/root", "PATH": f"{BIN}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "dumb"}
        process = subprocess.Popen(
            [*inside, "bash", "-c", f"cd {PROJECT} && {command}"],
            env=environment | {"LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def power_off(self) -> None:
        """Disconnect the network cable first, so that no reply leaves the machine, and kill all processes."""
        _run("ip", "link", "delete", self.wire)
        self.process.kill()
        self.process.wait()
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


class Lab:
    """The machines and the switch between them.

    Args:
        folder: Folder of the machines' files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.machines: dict[str, Machine] = {}
        (folder / "shared").mkdir(parents=True)
        self.key = folder / "key"
        self._wires = itertools.count()
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "switch", "type", "bridge")
        _run("ip", "address", "add", f"{SWITCH}/24", "dev", "switch")
        _run("ip", "link", "set", "switch", "up")

    @property
    def shared(self) -> Path:
        """The folder that all machines share, as a path of the host."""
        return self.folder / "shared"

    def switch_on(self, name: str, address: str, *, shares: bool = True) -> Machine:
        """Start a machine; a machine that was switched off has its files again.

        Args:
            name: Host name.
            address: IP address.
            shares: Whether /mnt/shared is the folder that the others share; otherwise it is a separate folder.
        """
        folder = self.folder / name
        if not folder.exists():
            self._furnish(folder, name=name)
        shutil.rmtree(folder / "tmp", ignore_errors=True)
        (folder / "tmp").mkdir(mode=0o1777)
        share = self.shared if shares else folder / "tmp"
        variables = {"MACHINE": str(folder), "SHARE": str(share), "KEEP": " ".join(map(str, hidden()))}
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                ["unshare", *NAMESPACES, "bash", "-c", BOOT],
                env=variables | {"NAME": name, "PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wire = f"wire{next(self._wires)}"
        machine = Machine(name=name, address=address, folder=folder, process=process, wire=wire)
        self.machines[name] = machine
        self._connect(machine)
        _wait_for_ssh(address)
        return machine

    def _furnish(self, folder: Path, *, name: str) -> None:
        for part in ("root/.ssh", "root/sshd"):
            (folder / part).mkdir(parents=True)
        # Debian maps a host's own name to an address that no other host can use
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n")
        (folder / "root/sshd/config").write_text(SSHD)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "root/sshd/key"))
        shutil.copy(self.key, folder / "root/.ssh/id_ed25519")
        shutil.copy(self.key.with_suffix(".pub"), folder / "root/.ssh/authorized_keys")

    def _connect(self, machine: Machine) -> None:
        pid = str(machine.pid)
        _run("ip", "link", "add", machine.wire, "type", "veth", "peer", "name", "eth0", "netns", pid)
        _run("ip", "link", "set", machine.wire, "master", "switch", "up")
        inside = ("nsenter", f"--target={pid}", "--net", "ip")
        _run(*inside, "address", "add", f"{machine.address}/24", "dev", "eth0")
        _run(*inside, "link", "set", "eth0", "up")
        _run(*inside, "route", "add", "default", "via", SWITCH)

    def close(self) -> None:
        """Switch all machines off."""
        for machine in self.machines.values():
            machine.power_off()


@contextlib.contextmanager
def laboratory(folder: Path) -> Iterator[Lab]:
    """Build a laboratory. Call it in separate namespaces; see `enter`."""
    lab = Lab(folder)
    try:
        yield lab
    finally:
        lab.close()


def enter(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module in separate namespaces, where it can build a laboratory."""
    return ["unshare", *NAMESPACES, sys.executable, "-m", module, *arguments]


def _wait_for_ssh(address: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection((address, 22), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, f"there is no SSH server at {address}"
            time.sleep(0.1)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
