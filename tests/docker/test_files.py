"""The files of the containers, checked without a container engine: complete, closed, pinned, without secrets."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
STEPS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if re.match(r"[A-Z]+ ", line)]
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SCRIPTS = sorted(DOCKER.glob("*.sh"))


def sources() -> list[str]:
    copied = [shlex.split(argument) for step, argument in STEPS if step == "COPY" and "--from" not in argument]
    return [word for words in copied for word in words[:-1] if not word.startswith("--")]


@pytest.mark.parametrize("source", sources())
def test_copied_files_exist_and_are_in_the_build_context(source: str) -> None:
    assert (ROOT / source).exists()
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert any(source == path or source.startswith(f"{path}/") for path in allowed)


def test_the_build_context_contains_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"docker/.env", "docker/secrets/"} <= set(ignored)


def test_the_image_is_pinned_and_runs_without_root() -> None:
    bases = [argument.split("=")[1] for step, argument in STEPS if step == "ARG" and argument.startswith("BASE=")]
    assert [bool(re.search(r":\d+\.\d+\.\d+-\w+", base)) for base in bases] == [True]
    assert all(argument.split()[0] == "${BASE}" for step, argument in STEPS if step == "FROM")
    last = max(number for number, (step, _) in enumerate(STEPS) if step == "FROM")
    users = [argument for step, argument in STEPS[last:] if step == "USER"]
    assert users == ["emotune"]
    assert [step for step, _ in STEPS].count("HEALTHCHECK") == 1
    installs = [part for part in DOCKERFILE.splitlines() if "pip install" in part]
    assert installs
    assert all("--no-cache-dir" in part for part in installs)


def test_the_image_installs_the_torch_of_the_lock_file() -> None:
    assert re.search(r"^torch==", (ROOT / "packaging/torch.lock").read_text(), flags=re.MULTILINE)
    assert "grep '^torch==' packaging/torch.lock" in DOCKERFILE
    assert "--require-hashes --requirement packaging/image.lock" in DOCKERFILE


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_are_valid_shell_and_executable(script: Path) -> None:
    subprocess.run(["sh", "-n", script], check=True)
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_local_and_without_privileges(name: str) -> None:
    service = SERVICES[name]
    image = service["image"]
    assert image.startswith("${EMOTUNE_IMAGE:-") or re.search(r":\d+\.\d+", image), "the image has no version"
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), "the port is open to other machines"
    assert "privileged" not in service
    assert service.get("user") not in {"root", "0", 0}
    assert service.get("network_mode") != "host"
    assert service["logging"]["options"]["max-size"]


def test_no_secret_is_written_in_a_file() -> None:
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET|KEY", variable):
                assert str(value).startswith("/run/secrets/"), variable
    named = {secret for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert named == set(COMPOSE["secrets"])
    made = re.search(r"for name in ([\w ]+);", (DOCKER / "make-secrets.sh").read_text())
    assert made is not None
    assert set(made[1].split()) == named
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    example = (DOCKER / ".env.example").read_text()
    assert not re.search(r"(?im)^\w*(password|token|secret)\w*=", example)


def test_every_variable_of_the_compose_file_has_a_default_and_is_explained() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    used = set(re.findall(r"\$\{(\w+):-", text))
    assert len(re.findall(r"\$\{", text)) == len(re.findall(r"\$\{\w+:-", text))
    assert used == set(re.findall(r"^(\w+)=", (DOCKER / ".env.example").read_text(), flags=re.MULTILINE))


def entrypoint(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the entry point with programs ``ray`` and ``mlflow`` that only print their arguments."""
    for program in ("ray", "mlflow"):
        (folder / program).write_text(f'#!/bin/sh\necho {program} "$@"\n')
        (folder / program).chmod(0o755)
    variables = {"PATH": f"{folder}:{Path(sys.executable).parent}:/usr/bin:/bin", "TMPDIR": str(folder)} | environment
    return subprocess.run(
        [DOCKER / "entrypoint.sh", *arguments], env=variables, capture_output=True, text=True, check=False
    )


SERVER = {
    "MLFLOW_AUTH_ADMIN_PASSWORD_FILE": "secret",
    "MLFLOW_FLASK_SERVER_SECRET_KEY_FILE": "secret",
    "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow:5000",
}
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "secret"}


@pytest.mark.parametrize(
    ("role", "environment", "message"),
    [
        ("head", {"EMOTUNE_BIND": "all"}, "needs RAY_AUTH_MODE=token"),
        ("head", {"EMOTUNE_BIND": "all", "RAY_AUTH_MODE": "token"}, "needs a token"),
        (
            "head",
            {"EMOTUNE_BIND": "all", "RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": "secret"},
            "needs RAY_AUTH",
        ),
        ("head", {"EMOTUNE_BIND": "0.0.0.0"}, "give 127.0.0.1 or all"),
        ("worker", TOKEN, "needs RAY_ADDRESS"),
        ("worker", {"RAY_ADDRESS": "head:6379"}, "needs RAY_AUTH_MODE=token"),
        ("emotune", {"RAY_ADDRESS": "head:6379"}, "needs RAY_AUTH_MODE=token"),
        *(
            (
                "mlflow",
                {"EMOTUNE_BIND": "all"} | {key: value for key, value in SERVER.items() if key != missing},
                missing,
            )
            for missing in SERVER
        ),
        ("mlflow", SERVER | {"MLFLOW_AUTH_ADMIN_PASSWORD_FILE": "nowhere"}, "cannot be read"),
    ],
)
def test_nothing_listens_without_a_password(
    role: str, environment: dict[str, str], message: str, tmp_path: Path
) -> None:
    outcome = entrypoint(role, folder=tmp_path, **with_secret(environment, folder=tmp_path))
    assert outcome.returncode == 2
    assert outcome.stdout == ""
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_servers_start_without_a_secret_in_their_arguments(tmp_path: Path) -> None:
    head = entrypoint("head", folder=tmp_path)
    assert "--node-ip-address=127.0.0.1" in head.stdout
    assert "--dashboard-host=127.0.0.1" in head.stdout
    environment = with_secret(TOKEN | {"EMOTUNE_BIND": "all"}, folder=tmp_path)
    assert "--dashboard-host=0.0.0.0" in entrypoint("head", folder=tmp_path, **environment).stdout
    environment = with_secret(SERVER | {"EMOTUNE_BIND": "all"}, folder=tmp_path)
    server = entrypoint("mlflow", folder=tmp_path, **environment).stdout
    assert "--host 0.0.0.0" in server
    assert "--app-name basic-auth" in server
    assert "canary" not in server
    assert "--host 127.0.0.1" in entrypoint("mlflow", folder=tmp_path).stdout


def with_secret(environment: dict[str, str], *, folder: Path) -> dict[str, str]:
    (folder / "secret").write_text("canary")
    return {
        key: str(folder / value) if key.endswith(("_FILE", "_PATH")) else value for key, value in environment.items()
    }


def test_secrets_are_created_once(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets.sh"
    script.write_bytes((DOCKER / "make-secrets.sh").read_bytes())
    made = []
    for _ in range(2):
        subprocess.run(["sh", script], check=True, capture_output=True)
        made.append({path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()})
    assert made[0] == made[1]
    assert len(set(made[0].values())) == len(COMPOSE["secrets"])
    assert all(len(secret) == 64 for secret in made[0].values())
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
