"""Before a search begins: does every node of the cluster see what it needs?"""

import logging
from typing import Any

import ray
from ray.exceptions import NodeDiedError, RayError, TaskUnschedulableError

from emotune.errors import SettingsError
from emotune.experiment import Experiment
from emotune.runtime.cluster.nodes import alive_nodes, ask_node, name_of
from emotune.runtime.cluster.visibility import Requirements, announce, missing
from emotune.study.folder import SearchFolder

logger = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""So long the nodes have for their answers; who has not answered is asked again when it gets its first work."""


def muster(folder: SearchFolder, base: Experiment) -> Requirements:
    """Tell the nodes how to know the search's folder, and refuse to begin unless all see that and the stores.

    Args:
        folder: The search's folder.
        base: With the stores and their fingerprints.

    Returns:
        What nodes must see; those that join later are asked when they get work.

    Raises:
        SettingsError: Naming the nodes and what they do not see.
    """
    named = ((base.store, base.fingerprint), (base.partner, base.partner_fingerprint))
    requirements = announce(folder.storage, stores={path: value for path, value in named if path and value})
    nodes = alive_nodes() if ray.is_initialized() else []
    if len(nodes) > 1:
        _ask([node for node in nodes if node["Resources"].get("CPU", 0) > 0], requirements)
    return requirements


def _ask(nodes: list[dict[str, Any]], requirements: Requirements) -> None:
    asked = {ask_node(node, _look, requirements.model_dump_json()): name_of(node) for node in nodes}
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=LOOK_SECONDS)
    for one in silent:
        logger.warning("node %s has not answered within %.0f s", asked[one], LOOK_SECONDS)
    found = {asked[one]: answer for one in answered if (answer := _answer(one))}
    if found:
        blind = "; ".join(f"node {name} does not see {' and '.join(what)}" for name, what in found.items())
        if requirements.folder.mounted:
            advice = (
                "give a --storage and a --store that are shared by all nodes, such as an NFS folder, or s3:// results"
            )
        else:
            advice = "give every node the keys and the address of the bucket (AWS_*), and a --store that all nodes see"
        raise SettingsError(f"{blind}; {advice}, or start without those nodes")


def _answer(one: Any) -> list[str]:
    try:
        return ray.get(one)
    except (NodeDiedError, TaskUnschedulableError):
        return []  # it is gone
    except RayError as error:
        return [f"emotune itself as it is here ({str(error).strip().splitlines()[-1]})"]


def _look(requirements: str) -> list[str]:
    return missing(Requirements.model_validate_json(requirements))
