"""Ray, KubeRay and the shell accept the files for clusters, which keep the promises of docs/clusters.md."""

import copy
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
LAUNCHED = ["cluster.yaml", "deploy/aws.yaml"]
SCRIPTS = ["deploy/host.sh", "deploy/slurm.sh", "packaging/make_venv.sh"]
QUANTITIES = {"requests": dict, "limits": dict}
CONTAINERS = [{"name": str, "image": str, "env": list, "volumeMounts": list, "resources": QUANTITIES}]
POD = {"spec": {"volumes": list, "containers": CONTAINERS, "terminationGracePeriodSeconds": int}}
WORKERS = [
    {"groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int, "rayStartParams": dict, "template": POD}
]
RAY_JOB = {
    "apiVersion": str,
    "kind": str,
    "metadata": {"name": str},
    "spec": {
        "entrypoint": str,
        "backoffLimit": int,
        "shutdownAfterJobFinishes": bool,
        "ttlSecondsAfterFinished": int,
        "rayClusterSpec": {
            "rayVersion": str,
            "authOptions": {"mode": str},
            "headGroupSpec": {"rayStartParams": dict, "template": POD},
            "workerGroupSpecs": WORKERS,
        },
    },
}
"""The fields of KubeRay's RayJob (v1) that the manifest uses, with their types."""


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def commands(config: dict[str, Any]) -> str:
    return "\n".join(command for key, value in config.items() if key.endswith("commands") for command in value)


def unknown_fields(document: Any, shape: Any, *, path: str = "") -> list[str]:
    """Return the fields of a document that its shape does not have, or has with another type."""
    if isinstance(shape, type):
        return [] if isinstance(document, shape) else [f"{path}: {document!r}"]
    if isinstance(shape, list):
        if not isinstance(document, list):
            return [f"{path}: {document!r}"]
        return [field for item in document for field in unknown_fields(item, shape[0], path=f"{path}[]")]
    if not isinstance(document, dict):
        return [f"{path}: {document!r}"]
    unknown = [f"{path}.{key}" for key in document.keys() - shape.keys()]
    known = document.keys() & shape.keys()
    for key in known:
        unknown += unknown_fields(document[key], shape[key], path=f"{path}.{key}")
    return unknown


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_accepts_it(name: str) -> None:
    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize("name", LAUNCHED)
def test_it_copies_all_files_that_the_environment_needs(name: str) -> None:
    """It copies no results, environments and downloads, because `ray up` reads every byte."""
    config = read(name)
    code = "~/emotune-cluster/code/"
    mounted = {target.removeprefix(code): source for target, source in config["file_mounts"].items()}
    assert all(target == source and (ROOT / source).exists() for target, source in mounted.items())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {"emotune", "search_spaces", "examples", "deploy", "packaging", "pyproject.toml", "requirements.lock"}
    assert needed | {project["readme"], *project["license-files"]} <= mounted.keys()
    for script in re.findall(rf"{code}(\S+\.sh)", commands(config)):
        assert (ROOT / script).is_file()


@pytest.mark.parametrize("name", LAUNCHED)
def test_nobody_else_gets_in(name: str) -> None:
    config = read(name)
    head = "\n".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head
    assert config["head_setup_commands"][0].endswith("host.sh head")
    (token,) = config["cluster_synced_files"]
    assert token not in commands(config), "the token is an argument, not a file"
    assert "RAY_AUTH_MODE=token" in (ROOT / "deploy/host.sh").read_text()


def test_without_edits_the_cluster_is_this_machine() -> None:
    config = read("cluster.yaml")
    assert config["provider"] == {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []}
    text = (ROOT / "cluster.yaml").read_text()
    edited = text.index("to here")
    assert all(text.index(key) < edited for key in ("head_ip", "worker_ips", "ssh_user", "EMOTUNE_STORAGE"))


def test_only_workers_are_spot_instances_of_aws() -> None:
    types = read("deploy/aws.yaml")["available_node_types"]
    spot = {name for name, node_type in types.items() if "InstanceMarketOptions" in node_type["node_config"]}
    assert spot == types.keys() - {read("deploy/aws.yaml")["head_node_type"]}
    assert types["head"]["resources"] == {"CPU": 0}


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_is_valid_shell(name: str) -> None:
    shell = "sh" if "#!/bin/sh" in (ROOT / name).read_text() else "bash"
    done = subprocess.run([shell, "-n", ROOT / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def manifests() -> dict[str, Any]:
    documents = yaml.safe_load_all((ROOT / "deploy/kuberay.yaml").read_text())
    return {document["kind"]: document for document in documents}


def test_kuberay_accepts_it(manifests: dict[str, Any]) -> None:
    assert manifests["RayJob"]["apiVersion"] == "ray.io/v1"
    assert unknown_fields(manifests["RayJob"], RAY_JOB) == []
    wrong = copy.deepcopy(manifests["RayJob"])
    wrong["spec"]["rayClusterSpec"]["authOption"] = wrong["spec"]["rayClusterSpec"].pop("authOptions")
    wrong["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"] = 1
    assert len(unknown_fields(wrong, RAY_JOB)) == 2


def test_on_kubernetes_all_pods_have_the_shared_folder_and_require_the_token(manifests: dict[str, Any]) -> None:
    assert manifests["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]
    cluster = manifests["RayJob"]["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert f"ray=={cluster['rayVersion']}" in (ROOT / "requirements.lock").read_text().split()
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    claim = manifests["PersistentVolumeClaim"]["metadata"]["name"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (volume,), (container,) = pod["volumes"], pod["containers"]
        (mount,) = container["volumeMounts"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim
        assert mount["name"] == volume["name"]
        variables = {variable["name"]: variable["value"] for variable in container["env"]}
        assert all(
            variables[name].startswith(f"{mount['mountPath']}/") for name in ("EMOTUNE_STORAGE", "EMOTUNE_STORE")
        )
        assert container["resources"]["requests"] == container["resources"]["limits"]
