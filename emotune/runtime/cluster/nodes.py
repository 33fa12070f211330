"""Nodes of the cluster: their names, and a function run on one of them."""

from collections.abc import Callable
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def alive_nodes() -> list[dict[str, Any]]:
    """Return Ray's description of the nodes that are alive."""
    return [node for node in ray.nodes() if node["Alive"]]


def node_name(node: dict[str, Any]) -> str:
    """Return a node's host name and its address in the cluster."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def run_on_node(node: dict[str, Any], function: Callable[..., Any], *arguments: Any) -> ray.ObjectRef:
    """Run a function once on a node, without reserving a CPU for it; return the reference to its result."""
    strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return ray.remote(num_cpus=0, max_retries=0)(function).options(scheduling_strategy=strategy).remote(*arguments)
