"""Resources of the cluster: CPUs and GPUs that it has, or may get from its autoscaler, and what a worker uses."""

from collections.abc import Mapping

import ray
from ray._private.state import state as cluster_state


def available_resources() -> dict[str, float]:
    """Return the resources of the cluster by name, each at the maximum that its autoscaler may reach."""
    maximum = cluster_state.get_max_resources_from_cluster_config() or {}
    present = ray.cluster_resources()
    names = present.keys() | maximum.keys()
    return {name: max(present.get(name, 0.0), maximum.get(name, 0.0)) for name in names}


def has_gpus() -> bool:
    """Return whether the cluster has GPUs or may get some; then every worker of a group uses one."""
    return available_resources().get("GPU", 0) >= 1


def gpu_count(device: str = "auto") -> int:
    """Return how many GPUs the evaluations of a search may use; 0 if it computes on the device ``cpu``."""
    return 0 if device == "cpu" else int(available_resources().get("GPU", 0))


def cpus_per_gpu() -> int:
    """Return the largest number of CPUs per GPU of any node, at least 1."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return max([1, *(int(node.get("CPU", 0) // node["GPU"]) for node in nodes if node.get("GPU", 0) >= 1)])


def worker_resources(threads: int) -> dict[str, float]:
    """Return the resources of one worker of a group: a GPU and a CPU, or without GPUs a CPU per thread."""
    return {"GPU": 1.0, "CPU": 1.0} if has_gpus() else {"CPU": float(threads)}


def worker_count(resources: Mapping[str, float], *, threads: int) -> int:
    """Return how many workers resources suffice for, as if all resources were on one node."""
    return min(int(resources.get(name, 0) // amount) for name, amount in worker_resources(threads).items())


def available_workers(threads: int) -> int:
    """Return how many workers the cluster has resources for, at the maximum that its autoscaler may reach."""
    return worker_count(available_resources(), threads=threads)
