"""`ray up` prepares a host: an environment, settings for Ray's shells only, and a token."""

import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RAYS_SHELL = "source ~/.bashrc; export OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore && ({})"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    code = tmp_path / "emotune-cluster/code"
    shutil.copytree(ROOT / "deploy", code / "deploy")
    for name in ("requirements.lock", "pyproject.toml", "packaging"):
        (code / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.fixture
def run(home: Path) -> Run:
    def run(*command: str) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def host(home: Path, run: Run) -> Run:
    return lambda *arguments: run("bash", str(home / "emotune-cluster/code/deploy/host.sh"), *arguments)


def test_settings_reach_the_shells_of_ray_and_no_others(home: Path, run: Run, host: Run) -> None:
    (home / ".bashrc").write_text("# the user's own file\n")
    arguments = ("set-up", f"EMOTUNE_VENV={sys.prefix}", "EMOTUNE_STORE=/data/a store")
    for _ in range(2):
        done = host(*arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"using the environment in {sys.prefix} as it is\n"
    assert (home / ".bashrc").read_text().count("emotune-cluster") == 1
    names = ("EMOTUNE_STORE", "EMOTUNE_STORAGE", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_USAGE_STATS_ENABLED")
    show = f'echo "{"|".join("$" + name for name in names)}"; which python'
    rays = run("bash", "--login", "-c", "-i", RAYS_SHELL.format(show))
    folder = home / "emotune-cluster"
    assert rays.stdout.splitlines()[-2:] == [
        f"/data/a store|{folder}/results|token|{folder}/token|0",
        f"{sys.prefix}/bin/python",
    ]
    assert run("bash", "--login", "-i", "-c", show).stdout.splitlines()[0] == "||||"


def test_the_token_is_created_once_and_only_its_owner_can_read_it(home: Path, host: Run) -> None:
    token = home / "emotune-cluster/token"
    assert host("head").returncode == 0
    first = token.read_text()
    assert len(first.strip()) == 64
    token.chmod(0o644)
    assert host("head").returncode == 0
    assert token.read_text() == first
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("set-up", "nonsense"), "nonsense is not a setting"),
        (("set-up", "EMOTUNE_VENV=/usr"), "is an environment without emotune"),
        (("set-up", "EMOTUNE_PYTHON=python9"), "has no Python 3.11 to 3.14"),
        (("set-up", f"EMOTUNE_VENV={sys.prefix}", "EMOTUNE_STORAGE=/proc/results"), "cannot write to EMOTUNE_STORAGE"),
        (("start",), "knows set-up, head and ray start"),
    ],
)
def test_a_mistake_is_reported_in_one_line(home: Path, host: Run, arguments: tuple[str, ...], message: str) -> None:
    done = host(*arguments)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert not (home / "emotune-cluster/environment").exists()


@pytest.mark.parametrize(
    ("provider", "alone"),
    [
        ({"type": "local", "head_ip": "127.0.0.1", "worker_ips": []}, True),
        ({"type": "local", "head_ip": "192.168.1.11", "worker_ips": ["192.168.1.12"]}, False),
        ({"type": "aws", "region": "eu-central-1"}, False),
    ],
)
def test_a_head_without_workers_listens_on_the_loopback_interface_only(
    home: Path, host: Run, provider: dict[str, object], alone: bool
) -> None:
    (home / "ray_bootstrap_config.yaml").write_text(json.dumps({"provider": provider}))
    assert host("set-up", f"EMOTUNE_VENV={sys.prefix}").returncode == 0
    assert host("head").returncode == 0
    settings = (home / "emotune-cluster/environment").read_text()
    assert ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0" in settings) == alone
