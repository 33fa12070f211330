"""``emotune doctor``: what is installed, reachable or mis-set, one line each with the cure."""

import logging
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import click
import ray
from ray.exceptions import GetTimeoutError, RayError

from emotune.cli.options import (
    default_tracking_uri,
    find_store,
    json_option,
    print_json,
    storage_option,
    tracking_option,
)
from emotune.doctor.cluster import Answer, check_dashboard, compare
from emotune.doctor.finding import Finding, fine, wrong
from emotune.doctor.host import Places, Report, check_token, examine_host, read_clock, versions
from emotune.runtime.cluster.connect import connect, running_cluster
from emotune.runtime.cluster.nodes import alive_nodes, node_name, run_on_node
from emotune.storage import Storage, open_storage
from emotune.tracking.connectivity import UnreachableError, try_tracking

PATIENCE = 90.0
"""Seconds that a host may take to answer; the first process there has to import torch."""

MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


@click.command()
@storage_option
@tracking_option
@click.option("--store", envvar="EMOTUNE_STORE", help="Segment store that is to be used.  [default: EMOTUNE_STORE]")
@json_option
def doctor(*, storage: str, tracking_uri: str | None, store: str | None, as_json: bool) -> int:
    """Tell what is installed, reachable or mis-set: a line each, with the cure.

    Looks at this host and, where a Ray cluster runs, at each of its hosts. Exits with 1 if something will not work.

    \b
    Example:
      emotune doctor
      emotune doctor --storage /shared/results --store /shared/stores/ecg --tracking-uri http://mlflow:5000
    """
    findings = list(_examine(open_storage(storage), tracking_uri=tracking_uri, store=store))
    failed = any(finding.state == "fail" for finding in findings)
    if as_json:
        print_json({"well": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        click.echo("\n".join(map(as_line, findings)))
    return 1 if failed else 0


def as_line(finding: Finding) -> str:
    """Return a finding as people read it."""
    where = f"{finding.host} " if finding.host else ""
    cure = f"  -> {finding.cure}" if finding.cure else ""
    return f"{MARKS[finding.state]} {where}{finding.name}: {finding.found}{cure}"


def _examine(storage: Storage, *, tracking_uri: str | None, store: str | None) -> Iterator[Finding]:
    places = Places(storage.local() if storage.mounted else None, None if store is None else find_store(store))
    yield from examine_host(places).findings
    if not storage.mounted:
        yield fine("storage", f"{storage} answers")
    yield check_token(os.environ)
    yield _tracking(default_tracking_uri(tracking_uri, storage=storage))
    if running_cluster() is None:
        yield fine("cluster", "none runs; a search starts Ray on this machine for itself")
        return
    try:
        connect(1)
    except (RayError, ConnectionError, RuntimeError) as error:
        cure = "check RAY_ADDRESS, and that RAY_AUTH_MODE and the token are those of the cluster"
        yield wrong("cluster", f"{running_cluster()}: {str(error).strip().splitlines()[0]}", cure)
        return
    yield from _examine_cluster(places)


def _tracking(uri: str) -> Finding:
    try:
        return fine("tracking", try_tracking(uri))
    except UnreachableError as error:
        return wrong("tracking", str(error), error.cure)


def _examine_cluster(places: Places) -> Iterator[Finding]:
    nodes = alive_nodes()
    resources = ray.cluster_resources()
    yield fine("cluster", f"{len(nodes)} nodes, {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs")
    dashboard = ray.init(ignore_reinit_error=True, logging_level=logging.ERROR).dashboard_url
    yield check_dashboard(dashboard or None, loopback_only=(dashboard or "").startswith(("127.", "localhost")))
    marker = None
    if places.storage is not None and places.storage.is_dir():
        marker = f".doctor-{uuid.uuid4().hex}"
        (places.storage / marker).touch()
    try:
        yield from _ask_nodes(nodes, replace(places, marker=marker))
    finally:
        if places.storage is not None and marker is not None:
            (places.storage / marker).unlink(missing_ok=True)


def _ask_nodes(nodes: Sequence[dict], places: Places) -> Iterator[Finding]:
    """Ask all nodes to look at themselves and then, as nothing has to start any more, for their time."""
    first = {node["NodeID"]: run_on_node(node, examine_host, places) for node in nodes}
    answers = []
    for node in nodes:
        host = node_name(node)
        try:
            report: Report = ray.get(first[node["NodeID"]], timeout=PATIENCE)
            asked = time.time()
            clock: float = ray.get(run_on_node(node, read_clock), timeout=PATIENCE)
        except (RayError, GetTimeoutError) as error:
            found = str(error).strip().splitlines()[-1]
            yield replace(wrong("node", found, "see Ray's logs there; emotune has to be installed alike"), host=host)
            continue
        answers.append(Answer(host, report, clock, asked, time.time()))
    yield from compare(answers, ours=versions())
