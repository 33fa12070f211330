"""A user's session with ``cluster.yaml`` on machines of a laboratory: commands, durations and results.

As root: ``python -m tests.cluster.over_ssh one|two|inaccessible FOLDER``. Prints a transcript; all files are in FOLDER.
"""

import itertools
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from emotune.search.records import Ended, EpochDone, Evaluation, Started
from emotune.search.stopping import Resize
from emotune.storage import LocalLog
from emotune.study.journal import read_journal
from emotune.study.results import opened
from emotune.study.resume import make_optimizer
from emotune.study.study import Study
from tests.cluster.lab import PROJECT, Lab, Machine, enter, laboratory
from tests.search.checker import seen_in_virtual_time, violations

DESK, HEAD, WORKER = "10.77.0.2", "10.77.0.3", "10.77.0.4"
TINY = (
    "--set base.model.channels=[4,8] --set base.model.kernels=[9,5] --set base.model.feedforward=16 "
    "--set base.batch_size=16 --set base.folds.segments=64 --set budget.brackets=1"
)
SHORT = "--set budget.max=3"
SLURM = {
    "scontrol": 'echo "$3"',
    "srun": 'while [ "$1" != ray ]; do shift; done; exec "$@"',
}
"""Replacements of Slurm's two programs, for a job of one node."""
DATA = "emotune data prepare synthetic --seconds 2.5 --workers 1 --set subjects=6 --set seconds_per_state=40"
SEARCH = f"ray submit cluster.yaml tune_pretrain.py smoke --name tiny --concurrency 2 {TINY}"
LONG_SEARCH = (
    "ray submit cluster.yaml tune_pretrain.py smoke --name long --set base.folds.segments=400 --set base.batch_size=16 "
    "--set budget.min=3 --set budget.max=27 --set budget.brackets=12"
)
NODE_REGISTRATION_S = 3.0
"""Time after the start of Ray on a machine until the head has registered it."""
PHASE_S = 30.0
"""Duration of the undisturbed phases of a search before and after a machine loses power."""
NOISE = re.compile(r"INFO|WARN|To ensure this mount|^\s*$|Shared connection|Permanently added|^\x1b")


@dataclass
class Session:
    """The commands that a user types on a machine, and their results."""

    machine: Machine
    file: Path
    """The cluster file in use; ``cluster.yaml`` in commands."""
    found: dict[str, Any] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def begin(self, command: str) -> subprocess.Popen:
        """Start a command without waiting for its end."""
        self.say(f"$ {command}")
        return self.machine.start(command.replace("cluster.yaml", str(self.file)))

    def type(self, label: str, command: str, *, seconds: float = 240) -> str:
        """Run a command to its end, and record its result under a label."""
        since = time.monotonic()
        process = self.begin(command)
        output, _ = process.communicate(timeout=seconds)
        return self.end(label, process.returncode, output, since=since)

    def end(self, label: str, code: int, output: str, *, since: float) -> str:
        """Record the exit code, the duration and the output of a command."""
        took = time.monotonic() - since
        self.found[label] = {"code": code, "seconds": round(took, 1), "output": output}
        lines = [line for line in output.splitlines() if not NOISE.search(line)]
        for line in lines[-5:]:
            self.say(f"  {line[:150]}")
        self.say(f"  -> {took:.1f} s, exit code {code}")
        return output

    def mark(self, event: str) -> None:
        """Record the time of an event, by the clock of the journals."""
        self.found[event] = {"time": time.time()}
        self.say(f"({event})")

    def say(self, text: str) -> None:
        """Print a line of the transcript."""
        sys.stdout.write(f"[{time.monotonic() - self.begun:6.1f}] {text}\n")
        sys.stdout.flush()

    def wait(
        self, what: str, condition: Callable[[], bool], *, during: subprocess.Popen | None = None, seconds: float = 120
    ) -> float:
        """Wait until a condition is met while a command runs, and return the seconds that it took."""
        since = time.monotonic()
        while not condition():
            assert during is None or during.poll() is None, (
                f"the command ended before: {what}\n{during and during.communicate()[0]}"
            )
            assert time.monotonic() - since < seconds, f"waited {seconds} s for: {what}"
            time.sleep(0.1)
        took = time.monotonic() - since
        self.say(f"({what} after {took:.1f} s)")
        return took


def cluster_file(machine: Machine, *, edits: dict[str, str]) -> Path:
    """Write the project's cluster.yaml, with a user's edits, into the machine's home."""
    text = (PROJECT / "cluster.yaml").read_text()
    for old, new in ({"EMOTUNE_VENV=$HOME/emotune-cluster/venv": f"EMOTUNE_VENV={sys.prefix}"} | edits).items():
        assert old in text, f"cluster.yaml has no {old}"
        text = text.replace(old, new)
    (machine.folder / "root/cluster.yaml").write_text(text)
    assert yaml.safe_load(text)["file_mounts"]
    return Path("/root/cluster.yaml")


def records(results: Path, name: str) -> int:
    """Return the number of records in the journal of a search."""
    journal = results / name / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def runs(machine: Machine, program: str) -> bool:
    """Return whether a program runs on a machine."""
    return machine.start(f"pgrep --exact {program}").wait() == 0


def working(folder: Path) -> dict[int, int]:
    """Return the epochs of each configuration whose evaluation is running, by the journal."""
    if not (folder / "journal.jsonl").exists():
        return {}
    known = read_journal(LocalLog(folder / "journal.jsonl"))
    ended = {record.evaluation_id for record in known if isinstance(record, Ended)}
    started = [record.evaluation for record in known if isinstance(record, Started)]
    running = [evaluation.config_id for evaluation in started if evaluation.id not in ended]
    epochs = Counter(record.config_id for record in known if isinstance(record, EpochDone))
    return {number: epochs[number] for number in running if epochs[number]}


def at_risk(folder: Path) -> dict[int, int]:
    """Return the number of finished epochs of each running evaluation since its newest checkpoint."""
    ahead = {}
    for number, epochs in working(folder).items():
        saved = sorted(folder.glob(f"configurations/{number:05d}/epoch-*"))
        ahead[number] = epochs - (int(saved[-1].name.split("-")[1]) if saved else 0)
    return ahead


def epoch_times(folder: Path) -> list[float]:
    """Return the times of all epochs, by the journal."""
    records = read_journal(LocalLog(folder / "journal.jsonl"))
    return [record.time for record in records if isinstance(record, EpochDone)]


def rates(folder: Path, marks: list[tuple[str, float]]) -> dict[str, float]:
    """Return the epochs per minute between one mark and the next, by the journal."""
    times = epoch_times(folder)
    return {
        f"from '{event}' to '{following}'": sum(begin <= time < end for time in times) / (end - begin) * 60
        for (event, begin), (following, end) in itertools.pairwise(marks)
    }


def longest_gap(folder: Path) -> float:
    """Return the longest time between two epochs, by the journal."""
    times = epoch_times(folder)
    return max(after - before for before, after in itertools.pairwise(times))


def wrong(folder: Path) -> list[str]:
    """Return the errors of a search: an epoch twice or missing, a failure, a decision against the rules."""
    known = read_journal(LocalLog(folder / "journal.jsonl"))
    first = opened(known)
    study = Study.model_validate(first.study)
    epochs: dict[int, list[int]] = {}
    for record in known:
        if isinstance(record, EpochDone):
            epochs.setdefault(record.config_id, []).append(record.epoch)
    errors = [
        f"epochs of configuration {key}: {numbers}"
        for key, numbers in epochs.items()
        if numbers != [*range(1, len(numbers) + 1)]
    ]
    ends = [record for record in known if isinstance(record, Ended)]
    errors += [f"evaluation {end.evaluation_id} failed" for end in ends if end.status != "done"]
    optimizer = make_optimizer(study, records=known, concurrency=first.concurrency)
    begun = make_optimizer(study, records=known[:1], concurrency=first.concurrency).settings
    rows, changes = optimizer.results(), [Resize.model_validate(entry) for entry in optimizer.state()["resizes"]]

    def cost(evaluation: Evaluation) -> float:
        return study.base.with_values(evaluation.values).cost()

    seen = seen_in_virtual_time(begun, rows, cost=cost, changes=changes)
    return errors + violations(begun, rows, running=optimizer.running(), seen=seen)


def kill_driver(machine: Machine) -> None:
    """Kill the driver on the head with SIGKILL, as the kernel does when memory runs out."""
    process = machine.start("pkill -KILL -f '^[^ ]*python [^ ]*tune_pretrain.py'")
    process.communicate(timeout=20)
    assert process.returncode == 0, "there was no driver to kill"


def one_machine(lab: Lab) -> Session:
    """Use cluster.yaml unchanged: head and user on one machine."""
    desk = lab.switch_on("desk", DESK)
    session = Session(desk, cluster_file(desk, edits={}))
    results = desk.folder / "root/emotune-cluster/results"
    session.type("up", "ray up -y cluster.yaml")
    session.type("without store", "ray submit cluster.yaml tune_pretrain.py")
    session.type("data", f"ray exec cluster.yaml '{DATA}'")
    plain = session.begin("ray submit cluster.yaml tune_pretrain.py")
    session.wait(
        "an evaluation of the published network has begun", lambda: records(results, "ecg_pretrain") >= 2, during=plain
    )
    kill_driver(desk)
    session.end("killed", plain.wait(timeout=60), plain.communicate()[0], since=time.monotonic())
    killed = session.begin(SEARCH)
    session.wait("12 records", lambda: records(results, "tiny") >= 12, during=killed)
    kill_driver(desk)
    killed.communicate(timeout=60)
    session.type("resumed", SEARCH)
    session.type("again", SEARCH)
    session.type("status", "ray exec cluster.yaml 'emotune status tiny --json > ~/status.json; ray status | grep CPU'")
    without = 'RAY_AUTH_MODE=disabled ray status; curl -s -w "\\n%{http_code} for no token\\n" http://127.0.0.1:8265/api/jobs/'
    session.type("token", f"stat -c '%a %n' ~/emotune-cluster/token; ray exec cluster.yaml '{without}'")
    session.type("listens", "ss --listening --tcp --numeric --no-header --processes | grep -v sshd")
    session.type("down", "ray down -y cluster.yaml")
    session.type("left", "pgrep -fc '[r]aylet/raylet|[g]cs_server'")
    (desk.folder / "root/bin").mkdir()
    for name, script in SLURM.items():
        (desk.folder / "root/bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (desk.folder / "root/bin" / name).chmod(0o755)
    job = "SLURM_JOB_ID=7 SLURM_NNODES=1 SLURM_JOB_NODELIST=desk SLURM_CPUS_PER_TASK=3 PATH=/root/bin:$PATH"
    folders = "EMOTUNE_STORAGE=~/results EMOTUNE_STORE=~/emotune-cluster/stores/ecg"
    session.type("slurm", f"{job} {folders} bash deploy/slurm.sh emotune search smoke --name batch {TINY} {SHORT}")
    return session


def laboratory_of_two(lab: Lab, *, shares: bool = True) -> tuple[Session, Machine]:
    """Switch on a desk, a head and a worker, with or without a shared folder, and edit the cluster file for them."""
    desk = lab.switch_on("desk", DESK)
    lab.switch_on("head", HEAD)
    worker = lab.switch_on("worker", WORKER, shares=shares)
    edits = {
        "head_ip: 127.0.0.1": f"head_ip: {HEAD}",
        "worker_ips: []": f"worker_ips: [{WORKER}]",
        "$HOME/emotune-cluster/results": "/mnt/shared/results",
        "$HOME/emotune-cluster/stores/ecg": "/mnt/shared/store",
        # the machines of the laboratory share the cores of one computer
        "ray start --head": "ray start --num-cpus=1 --head",
        "ray start --address": "ray start --num-cpus=1 --address",
    }
    return Session(desk, cluster_file(desk, edits=edits)), worker


def inaccessible_worker(lab: Lab) -> Session:
    """Use a worker that can access neither results nor store."""
    session, worker = laboratory_of_two(lab, shares=False)
    session.type("up", "ray up -y cluster.yaml")
    session.type("data", f"ray exec cluster.yaml '{DATA}'")
    session.wait("the worker has Ray", lambda: runs(worker, "raylet"))
    time.sleep(NODE_REGISTRATION_S)
    session.type("search", f"{SEARCH} {SHORT}")
    session.type("down", "ray down -y cluster.yaml")
    return session


def two_machines(lab: Lab) -> Session:
    """Use a desk, a head and a worker that loses power during a search and is switched on again."""
    session, worker = laboratory_of_two(lab)
    results = lab.shared / "results"
    session.type("up", "ray up -y cluster.yaml")
    session.type("data", f"ray exec cluster.yaml '{DATA}'")
    session.wait("the worker has Ray", lambda: runs(worker, "raylet"))
    time.sleep(NODE_REGISTRATION_S)
    searching = session.begin(LONG_SEARCH)
    session.wait("both machines are training", lambda: len(working(results / "long")) == 2, during=searching)
    session.mark("both at work")
    time.sleep(PHASE_S)
    session.wait(
        "both are in the middle of an evaluation", lambda: len(working(results / "long")) == 2, during=searching
    )
    session.mark("plug pulled")
    session.found["saved"] = at_risk(results / "long")
    worker.power_off()
    time.sleep(PHASE_S)
    worker = lab.switch_on("worker", WORKER)
    session.mark("plug in again")
    session.wait("the worker has Ray again", lambda: runs(worker, "raylet"), during=searching)
    session.mark("worker back")
    time.sleep(PHASE_S)
    session.mark("asked to stop")
    session.type("stop", "ray exec cluster.yaml 'emotune stop long'")
    output = searching.communicate(timeout=400)[0]
    session.end("search", searching.returncode, output, since=session.begun)
    session.type("down", "ray down -y cluster.yaml")
    session.wait("the worker's Ray has ended by itself", lambda: not runs(worker, "raylet"))
    marks = [(event, result["time"]) for event, result in session.found.items() if "time" in result]
    session.found["rates"] = rates(results / "long", marks)
    session.found["waited"] = longest_gap(results / "long")
    session.say(f"longest time without an epoch: {session.found['waited']:.0f} s")
    session.found["wrong"] = wrong(results / "long")
    session.say(f"errors of the search: {session.found['wrong'] or 'none'}")
    for phase, rate in session.found["rates"].items():
        session.say(f"{phase}: {rate:.0f} epochs per minute")
    session.say(f"finished epochs without a checkpoint when the power was cut: {list(session.found['saved'].values())}")
    return session


if __name__ == "__main__":
    scenario, folder = sys.argv[1], Path(sys.argv[2]).absolute()
    if scenario.startswith("inside-"):
        with laboratory(folder) as lab:
            session = {
                "inside-one": one_machine,
                "inside-two": two_machines,
                "inside-inaccessible": inaccessible_worker,
            }[scenario](lab)
            (folder / "found.json").write_text(json.dumps(session.found, indent=1))
    else:
        sys.exit(
            subprocess.run(enter("tests.cluster.over_ssh", f"inside-{scenario}", str(folder)), check=False).returncode
        )
