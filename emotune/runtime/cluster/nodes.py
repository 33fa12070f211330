"""The nodes of the cluster, by name, and work that is sent to one of them."""

from collections.abc import Callable
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def alive_nodes() -> list[dict[str, Any]]:
    """Return what Ray knows of the nodes that are alive."""
    return [node for node in ray.nodes() if node["Alive"]]


def name_of(node: dict[str, Any]) -> str:
    """Return what people call a node, and its address in the cluster."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def ask_node(node: dict[str, Any], question: Callable[..., Any], *given: Any) -> ray.ObjectRef:
    """Let a node answer a question, once, beside whatever it does."""
    where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return ray.remote(num_cpus=0, max_retries=0)(question).options(scheduling_strategy=where).remote(*given)
