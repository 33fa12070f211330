"""``emotune doctor``: the checks of this host, of the services, and of each host of a Ray cluster."""

import logging
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click
import ray
from ray.exceptions import GetTimeoutError, RayError

from emotune.cli.actions.folders import store_path, tracking_uri_or_default
from emotune.cli.actions.training_checks import check_training
from emotune.cli.output import print_json
from emotune.doctor.cluster import HostReply, check_dashboard, compare_hosts
from emotune.doctor.findings import Finding, failure, ok
from emotune.doctor.host import HostPaths, HostReport, check_host, check_token, read_clock, versions
from emotune.doctor.host_keys import check_host_keys
from emotune.errors import ClusterError
from emotune.runtime.cluster.connect import connect, running_cluster
from emotune.runtime.cluster.nodes import alive_nodes, node_name, run_on_node
from emotune.storage import Storage, open_storage
from emotune.tracking.connection_check import UnreachableError, check_connection

NODE_TIMEOUT_S = 90.0
"""The checks wait for a host of the cluster this long; its first process has to import torch."""

MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def check_and_print(
    storage: str, *, tracking_uri: str | None, store: str | None, study: str | None, as_json: bool
) -> int:
    """Carry out ``emotune doctor``; returns the exit code."""
    trained = [] if study is None else list(check_training(study, store=store))  # first: it refuses mistakes
    findings = [*_examine(open_storage(storage), tracking_uri=tracking_uri, store=store), *trained]
    failed = any(finding.state == "fail" for finding in findings)
    if as_json:
        print_json({"well": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        click.echo("\n".join(map(as_line, findings)))
    return 1 if failed else 0


def as_line(finding: Finding) -> str:
    """Return a finding in one line."""
    where = f"{finding.host} " if finding.host else ""
    cure = f"  -> {finding.cure}" if finding.cure else ""
    return f"{MARKS[finding.state]} {where}{finding.name}: {finding.found}{cure}"


def _examine(storage: Storage, *, tracking_uri: str | None, store: str | None) -> Iterator[Finding]:
    places = HostPaths(storage.local() if storage.mounted else None, None if store is None else store_path(store))
    yield from check_host(places).findings
    if not storage.mounted:
        yield ok("storage", f"{storage} responds")
    yield check_token(os.environ)
    yield check_host_keys(Path.cwd())
    yield _examine_tracking(tracking_uri_or_default(tracking_uri, storage=storage))
    if running_cluster() is None:
        yield ok("cluster", "not running; a search starts Ray on this machine")
        return
    try:
        connect(1)
    except ClusterError as error:
        yield failure("cluster", error.reason, error.remedy)
        return
    yield from _examine_cluster(places)


def _examine_tracking(uri: str) -> Finding:
    try:
        return ok("tracking", check_connection(uri))
    except UnreachableError as error:
        return failure("tracking", str(error), error.remedy)


def _examine_cluster(places: HostPaths) -> Iterator[Finding]:
    nodes = alive_nodes()
    resources = ray.cluster_resources()
    yield ok("cluster", f"{len(nodes)} nodes, {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs")
    dashboard = ray.init(ignore_reinit_error=True, logging_level=logging.ERROR).dashboard_url
    yield check_dashboard(dashboard or None, loopback_only=(dashboard or "").startswith(("127.", "localhost")))
    marker = None
    if places.storage is not None and places.storage.is_dir():
        marker = f".doctor-{uuid.uuid4().hex}"
        (places.storage / marker).touch()
    try:
        yield from _examine_nodes(nodes, replace(places, marker=marker))
    finally:
        if places.storage is not None and marker is not None:
            (places.storage / marker).unlink(missing_ok=True)


def _examine_nodes(nodes: Sequence[dict], places: HostPaths) -> Iterator[Finding]:
    """Run the checks of a host on all nodes; then read their clocks, when no process has to start any more."""
    reports = {node["NodeID"]: run_on_node(node, check_host, places) for node in nodes}
    answers = []
    for node in nodes:
        host = node_name(node)
        try:
            report: HostReport = ray.get(reports[node["NodeID"]], timeout=NODE_TIMEOUT_S)
            asked = time.time()
            clock: float = ray.get(run_on_node(node, read_clock), timeout=NODE_TIMEOUT_S)
        except (RayError, GetTimeoutError) as error:
            message = str(error).strip().splitlines()[-1]
            cure = "read Ray's logs on that host; the same version of emotune must be installed there"
            yield replace(failure("node", message, cure), host=host)
            continue
        answers.append(HostReply(host, report, clock, asked, time.time()))
    yield from compare_hosts(answers, driver_versions=versions())
