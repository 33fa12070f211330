"""Resources of the cluster: CPUs and GPUs that it has, or may get from its autoscaler, and what a worker uses."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import ray
from ray._private.state import state as cluster_state

from emotune.errors import SettingsError

if TYPE_CHECKING:  # it imports torch, which a search of a trainable does not need
    from emotune.training.execution import Compute


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


def worker_resources(compute: "Compute") -> dict[str, float]:
    """Return the resources of one worker of a group: a GPU and a CPU, or a CPU per thread; and the user's own."""
    machine = {"GPU": 1.0, "CPU": 1.0} if has_gpus() else {"CPU": float(compute.threads)}
    return machine | compute.resources


def worker_count(resources: Mapping[str, float], *, compute: "Compute") -> int:
    """Return how many workers of a group resources suffice for."""
    return count_slots(worker_resources(compute), available=resources)


def available_workers(compute: "Compute") -> int:
    """Return how many workers the cluster has resources for, at the maximum that its autoscaler may reach."""
    return worker_count(available_resources(), compute=compute)


def count_slots(needed: Mapping[str, float], *, available: Mapping[str, float]) -> int:
    """Return how many evaluations or workers resources suffice for, as if all resources were on one node."""
    return min(int(available.get(name, 0.0) / amount + 1e-9) for name, amount in needed.items())


def check_available(needed: Mapping[str, float]) -> None:
    """Check that the cluster has the resources of one evaluation, or may get them from its autoscaler.

    Raises:
        SettingsError: It does not; the message has the user's resources and those of the cluster.
    """
    available = available_resources()
    if not count_slots(needed, available=available):
        present = {name: available.get(name, 0.0) for name in needed}
        raise SettingsError(
            f"resources: {dict(needed)} was given, but the cluster has {present}; give less, or add machines"
        )
