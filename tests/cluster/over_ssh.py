"""A person's day with ``cluster.yaml``, on machines of a laboratory: what was typed, how long it took, what came of it.

As root: ``python -m tests.cluster.over_ssh one|two|blind FOLDER``; it prints a transcript, and FOLDER keeps all files.
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
"""What Slurm's two programs do in a job of one node."""
DATA = "emotune data prepare synthetic --seconds 2.5 --workers 1 --set subjects=6 --set seconds_per_state=40"
SEARCH = f"ray submit cluster.yaml tune_pretrain.py smoke --name tiny --concurrency 2 {TINY}"
LONG_SEARCH = (
    "ray submit cluster.yaml tune_pretrain.py smoke --name long --set base.folds.segments=400 --set base.batch_size=16 "
    "--set budget.min=3 --set budget.max=27 --set budget.brackets=12"
)
SETTLING = 3.0
"""Seconds until the head has counted a machine whose Ray has begun."""
PHASE = 30.0
"""Seconds for which a search is left alone before and after the plug is pulled."""
NOISE = re.compile(r"INFO|WARN|To ensure this mount|^\s*$|Shared connection|Permanently added|^\x1b")


@dataclass
class Day:
    """What a person types at a machine, and what came of it."""

    machine: Machine
    file: Path
    """The cluster's file in use; typed as ``cluster.yaml``."""
    found: dict[str, Any] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def begin(self, command: str) -> subprocess.Popen:
        """Start a command and go on."""
        self.say(f"$ {command}")
        return self.machine.start(command.replace("cluster.yaml", str(self.file)))

    def type(self, label: str, command: str, *, seconds: float = 240) -> str:
        """Run a command to its end; the label names it among what was found."""
        since = time.monotonic()
        process = self.begin(command)
        output, _ = process.communicate(timeout=seconds)
        return self.end(label, process.returncode, output, since=since)

    def end(self, label: str, code: int, output: str, *, since: float) -> str:
        """Note how a command ended."""
        took = time.monotonic() - since
        self.found[label] = {"code": code, "seconds": round(took, 1), "output": output}
        lines = [line for line in output.splitlines() if not NOISE.search(line)]
        for line in lines[-5:]:
            self.say(f"  {line[:150]}")
        self.say(f"  -> {took:.1f} s, exit code {code}")
        return output

    def mark(self, event: str) -> None:
        """Note when something happened, by the clock of the journals."""
        self.found[event] = {"time": time.time()}
        self.say(f"({event})")

    def say(self, text: str) -> None:
        """Print a line of the transcript."""
        sys.stdout.write(f"[{time.monotonic() - self.begun:6.1f}] {text}\n")
        sys.stdout.flush()

    def wait(
        self, what: str, condition: Callable[[], bool], *, during: subprocess.Popen | None = None, seconds: float = 120
    ) -> float:
        """Wait for something that a command brings about, and return how long it took."""
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
    """Write the project's cluster.yaml with a person's edits into the machine's home."""
    text = (PROJECT / "cluster.yaml").read_text()
    for old, new in ({"EMOTUNE_VENV=$HOME/emotune-cluster/venv": f"EMOTUNE_VENV={sys.prefix}"} | edits).items():
        assert old in text, f"cluster.yaml has no {old}"
        text = text.replace(old, new)
    (machine.folder / "root/cluster.yaml").write_text(text)
    assert yaml.safe_load(text)["file_mounts"]
    return Path("/root/cluster.yaml")


def records(results: Path, name: str) -> int:
    """Count what is in a search's journal."""
    journal = results / name / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def runs(machine: Machine, program: str) -> bool:
    """Tell whether a program runs on a machine."""
    return machine.start(f"pgrep --exact {program}").wait() == 0


def working(folder: Path) -> dict[int, int]:
    """Return the epochs of each configuration whose evaluation is running, by the journal."""
    if not (folder / "journal.jsonl").exists():
        return {}
    known = read_journal(LocalLog(folder / "journal.jsonl"))
    ended = {one.evaluation_id for one in known if isinstance(one, Ended)}
    running = [one.evaluation.config_id for one in known if isinstance(one, Started) and one.evaluation.id not in ended]
    epochs = Counter(one.config_id for one in known if isinstance(one, EpochDone))
    return {number: epochs[number] for number in running if epochs[number]}


def at_risk(folder: Path) -> dict[int, int]:
    """Return by how many finished epochs each running evaluation is ahead of its newest checkpoint."""
    ahead = {}
    for number, epochs in working(folder).items():
        saved = sorted(folder.glob(f"configurations/{number:05d}/epoch-*"))
        ahead[number] = epochs - (int(saved[-1].name.split("-")[1]) if saved else 0)
    return ahead


def rates(folder: Path, marks: list[tuple[str, float]]) -> dict[str, float]:
    """Return the epochs a minute between one mark and the next, by the journal."""
    times = [one.time for one in read_journal(LocalLog(folder / "journal.jsonl")) if isinstance(one, EpochDone)]
    return {
        f"from '{event}' to '{following}'": sum(begin <= time < end for time in times) / (end - begin) * 60
        for (event, begin), (following, end) in itertools.pairwise(marks)
    }


def longest_gap(folder: Path) -> float:
    """Return the longest time between two epochs, by the journal."""
    times = [one.time for one in read_journal(LocalLog(folder / "journal.jsonl")) if isinstance(one, EpochDone)]
    return max(after - before for before, after in itertools.pairwise(times))


def wrong(folder: Path) -> list[str]:
    """Name what is wrong with a search: an epoch twice or missing, a failure, a decision against the rules."""
    known = read_journal(LocalLog(folder / "journal.jsonl"))
    first = opened(known)
    study = Study.model_validate(first.study)
    epochs: dict[int, list[int]] = {}
    for one in known:
        if isinstance(one, EpochDone):
            epochs.setdefault(one.config_id, []).append(one.epoch)
    found = [f"epochs of configuration {key}: {its}" for key, its in epochs.items() if its != [*range(1, len(its) + 1)]]
    found += [
        f"evaluation {one.evaluation_id} failed" for one in known if isinstance(one, Ended) and one.status != "done"
    ]
    optimizer = make_optimizer(study, records=known, concurrency=first.concurrency)
    begun = make_optimizer(study, records=known[:1], concurrency=first.concurrency).settings
    rows, changes = optimizer.results(), [Resize.model_validate(each) for each in optimizer.state()["resizes"]]

    def cost(evaluation: Evaluation) -> float:
        return study.base.with_values(evaluation.values).cost()

    seen = seen_in_virtual_time(begun, rows, cost=cost, changes=changes)
    return found + violations(begun, rows, running=optimizer.running(), seen=seen)


def kill_driver(machine: Machine) -> None:
    """Kill the search's program on the head as the kernel would for want of memory."""
    process = machine.start("pkill -KILL -f '^[^ ]*python [^ ]*tune_pretrain.py'")
    process.communicate(timeout=20)
    assert process.returncode == 0, "there was no driver to kill"


def one_machine(lab: Lab) -> Day:
    """Take cluster.yaml as it stands: head and person on one machine."""
    desk = lab.switch_on("desk", DESK)
    day = Day(desk, cluster_file(desk, edits={}))
    results = desk.folder / "root/emotune-cluster/results"
    day.type("up", "ray up -y cluster.yaml")
    day.type("without store", "ray submit cluster.yaml tune_pretrain.py")
    day.type("data", f"ray exec cluster.yaml '{DATA}'")
    plain = day.begin("ray submit cluster.yaml tune_pretrain.py")
    day.wait(
        "an evaluation of the published network has begun", lambda: records(results, "ecg_pretrain") >= 2, during=plain
    )
    kill_driver(desk)
    day.end("killed", plain.wait(timeout=60), plain.communicate()[0], since=time.monotonic())
    killed = day.begin(SEARCH)
    day.wait("12 records", lambda: records(results, "tiny") >= 12, during=killed)
    kill_driver(desk)
    killed.communicate(timeout=60)
    day.type("resumed", SEARCH)
    day.type("again", SEARCH)
    day.type("status", "ray exec cluster.yaml 'emotune status tiny --json > ~/status.json; ray status | grep CPU'")
    without = 'RAY_AUTH_MODE=disabled ray status; curl -s -w "\\n%{http_code} for no token\\n" http://127.0.0.1:8265/api/jobs/'
    day.type("token", f"stat -c '%a %n' ~/emotune-cluster/token; ray exec cluster.yaml '{without}'")
    day.type("listens", "ss --listening --tcp --numeric --no-header --processes | grep -v sshd")
    day.type("down", "ray down -y cluster.yaml")
    day.type("left", "pgrep -fc '[r]aylet/raylet|[g]cs_server'")
    (desk.folder / "root/bin").mkdir()
    for name, script in SLURM.items():
        (desk.folder / "root/bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (desk.folder / "root/bin" / name).chmod(0o755)
    job = "SLURM_JOB_ID=7 SLURM_NNODES=1 SLURM_JOB_NODELIST=desk SLURM_CPUS_PER_TASK=3 PATH=/root/bin:$PATH"
    places = "EMOTUNE_STORAGE=~/results EMOTUNE_STORE=~/emotune-cluster/stores/ecg"
    day.type("slurm", f"{job} {places} bash deploy/slurm.sh emotune search smoke --name batch {TINY} {SHORT}")
    return day


def laboratory_of_two(lab: Lab, *, shares: bool = True) -> tuple[Day, Machine]:
    """Switch a desk, a head and a worker on, which may lack what they share, and edit the cluster's file for them."""
    desk = lab.switch_on("desk", DESK)
    lab.switch_on("head", HEAD)
    worker = lab.switch_on("worker", WORKER, shares=shares)
    edits = {
        "head_ip: 127.0.0.1": f"head_ip: {HEAD}",
        "worker_ips: []": f"worker_ips: [{WORKER}]",
        "$HOME/emotune-cluster/results": "/mnt/shared/results",
        "$HOME/emotune-cluster/stores/ecg": "/mnt/shared/store",
        # this laboratory's machines share the cores of one
        "ray start --head": "ray start --num-cpus=1 --head",
        "ray start --address": "ray start --num-cpus=1 --address",
    }
    return Day(desk, cluster_file(desk, edits=edits)), worker


def blind_worker(lab: Lab) -> Day:
    """Take a worker that sees neither results nor store."""
    day, worker = laboratory_of_two(lab, shares=False)
    day.type("up", "ray up -y cluster.yaml")
    day.type("data", f"ray exec cluster.yaml '{DATA}'")
    day.wait("the worker has Ray", lambda: runs(worker, "raylet"))
    time.sleep(SETTLING)
    day.type("search", f"{SEARCH} {SHORT}")
    day.type("down", "ray down -y cluster.yaml")
    return day


def two_machines(lab: Lab) -> Day:
    """Take a desk, a head and a worker, whose plug is pulled in the middle of a search and put in again."""
    day, worker = laboratory_of_two(lab)
    results = lab.shared / "results"
    day.type("up", "ray up -y cluster.yaml")
    day.type("data", f"ray exec cluster.yaml '{DATA}'")
    day.wait("the worker has Ray", lambda: runs(worker, "raylet"))
    time.sleep(SETTLING)
    searching = day.begin(LONG_SEARCH)
    day.wait("both machines are at work", lambda: len(working(results / "long")) == 2, during=searching)
    day.mark("both at work")
    time.sleep(PHASE)
    day.wait("both are in the middle of one", lambda: len(working(results / "long")) == 2, during=searching)
    day.mark("plug pulled")
    day.found["saved"] = at_risk(results / "long")
    worker.power_off()
    time.sleep(PHASE)
    worker = lab.switch_on("worker", WORKER)
    day.mark("plug in again")
    day.wait("the worker has Ray again", lambda: runs(worker, "raylet"), during=searching)
    day.mark("worker back")
    time.sleep(PHASE)
    day.mark("asked to stop")
    day.type("stop", "ray exec cluster.yaml 'emotune stop long'")
    output = searching.communicate(timeout=400)[0]
    day.end("search", searching.returncode, output, since=day.begun)
    day.type("down", "ray down -y cluster.yaml")
    day.wait("the worker's Ray has ended by itself", lambda: not runs(worker, "raylet"))
    marks = [(event, noted["time"]) for event, noted in day.found.items() if "time" in noted]
    day.found["rates"] = rates(results / "long", marks)
    day.found["waited"] = longest_gap(results / "long")
    day.say(f"longest time without an epoch: {day.found['waited']:.0f} s")
    day.found["wrong"] = wrong(results / "long")
    day.say(f"what is wrong with the search: {day.found['wrong'] or 'nothing'}")
    for phase, rate in day.found["rates"].items():
        day.say(f"{phase}: {rate:.0f} epochs a minute")
    day.say(f"finished epochs that were not saved when the plug was pulled: {list(day.found['saved'].values())}")
    return day


if __name__ == "__main__":
    scenario, folder = sys.argv[1], Path(sys.argv[2]).absolute()
    if scenario.startswith("inside-"):
        with laboratory(folder) as lab:
            day = {"inside-one": one_machine, "inside-two": two_machines, "inside-blind": blind_worker}[scenario](lab)
            (folder / "found.json").write_text(json.dumps(day.found, indent=1))
    else:
        sys.exit(
            subprocess.run(enter("tests.cluster.over_ssh", f"inside-{scenario}", str(folder)), check=False).returncode
        )
