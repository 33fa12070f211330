"""Real servers for tests and benchmarks, which can be killed and restarted: PostgreSQL, and MLflow with passwords."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

START_TIMEOUT_S = 120.0
"""Maximal time until a server has started, or another condition is met."""


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, or None if they are not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("initdb")
    return next(
        (path for path in [*folders, *([Path(on_path).parent] if on_path else [])] if (path / "initdb").exists()), None
    )


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition: Callable[[], bool], *, what: Callable[[], str]) -> None:
    """Wait until a condition is met; raise TimeoutError with the text of ``what`` if it takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what())
        time.sleep(0.1)


class Server:
    """A server program with a log. It can be killed with all its child processes, and started again."""

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder
        self.log = folder / f"{type(self).__name__.lower()}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Return the command line."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return environment variables that are added to those of this process."""
        return {}

    def answers(self) -> bool:
        """Return whether the server responds."""
        raise NotImplementedError

    def owner(self) -> str | None:
        """Return the user that runs the server; None: the user of this process."""
        return None

    def start(self) -> None:
        """Start the server and wait until it responds; start again if it ends, because its port may still be in use."""

        def ready() -> bool:
            if self.process is None or self.process.poll() is not None:
                with self.log.open("ab") as log:
                    self.process = subprocess.Popen(
                        self.command(),
                        env=os.environ | self.environment(),
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                        user=self.owner(),
                    )
                time.sleep(0.5)
            return self.answers()

        until(ready, what=lambda: self.log.read_text()[-2000:])

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server and its child processes."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kill the server and its child processes (kill -9)."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.send(signal.SIGKILL)
            self.process.wait()
            self.process = None


class Postgres(Server):
    """PostgreSQL with a database `mlflow`, in a new folder, on a Unix socket in it, with a password."""

    def __init__(self, *, programs: Path) -> None:
        # not in pytest's folders: PostgreSQL refuses to run as root, and other users cannot read those folders
        super().__init__(folder=Path(tempfile.mkdtemp(prefix="pg")))
        self.programs = programs
        self.password = f"canary-{secrets.token_hex(8)}"
        self.uri = f"postgresql+psycopg2://mlflow@/mlflow?host={self.folder}"
        secret = self.folder / "password"
        secret.write_text(self.password)
        if owner := self.owner():
            for path in (self.folder, secret):
                shutil.chown(path, owner)
        make = ["initdb", "--pgdata", "data", "--username", "mlflow", "--pwfile", "password", "--auth", "scram-sha-256"]
        subprocess.run(
            [programs / make[0], *make[1:], "--encoding", "UTF8", "--locale", "C"],
            check=True,
            cwd=self.folder,
            user=self.owner(),
            stdout=subprocess.DEVNULL,
        )
        self.start()
        self.run("createdb", "mlflow")

    def owner(self) -> str | None:
        """Return an account without privileges if this process runs as root."""
        return pwd.getpwnam("nobody").pw_name if os.geteuid() == 0 else None

    def command(self) -> list[str]:
        """Return the command line."""
        sockets = f"unix_socket_directories={self.folder}"
        return [
            str(self.programs / "postgres"),
            "-D",
            str(self.folder / "data"),
            "-c",
            "listen_addresses=",
            "-c",
            sockets,
        ]

    def answers(self) -> bool:
        """Return whether PostgreSQL accepts connections."""
        return subprocess.run([self.programs / "pg_isready", "-q", "-h", self.folder], check=False).returncode == 0

    def run(self, program: str, *arguments: str) -> bytes:
        """Run one of PostgreSQL's programs on this server, and return its output."""
        command = [self.programs / program, "-h", self.folder, "-U", "mlflow", *arguments]
        environment = os.environ | {"PGPASSWORD": self.password}
        return subprocess.run(command, check=True, env=environment, capture_output=True).stdout

    def remove(self) -> None:
        """Kill the server and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder)


class Mlflow(Server):
    """An MLflow server with a database, which also serves artifacts; with passwords if one is given."""

    def __init__(
        self,
        *,
        folder: Path,
        database: str,
        password: str | None = None,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(folder=folder)
        self.database = database
        self.password = password
        self.variables = dict(variables)
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.settings = folder / "basic_auth.ini"
        self.cache_passwords(60)

    def cache_passwords(self, seconds: int) -> None:
        """Make the server cache a checked password for some seconds, from its next start on."""
        lines = {
            "default_permission": "READ",
            "database_uri": self.database,
            "admin_username": "admin",
            "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
            "auth_cache_ttl_seconds": str(seconds),
        }
        self.settings.write_text("[mlflow]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items()))

    def command(self) -> list[str]:
        """Return the command line."""
        return [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--serve-artifacts", "--artifacts-destination", str(self.folder / "artifacts"),
            *(["--app-name", "basic-auth"] if self.password else []),
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Return the variables with the database and the secrets."""
        password = {
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.password or "",
            "MLFLOW_AUTH_CONFIG_PATH": str(self.settings),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-key-for-tests",
        }
        own = {
            "MLFLOW_BACKEND_STORE_URI": self.database,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes that are not needed here
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        return own | (password if self.password else {}) | self.variables

    def answers(self) -> bool:
        """Return whether the health check succeeds."""
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


@contextlib.contextmanager
def tracking(folder: Path, *, programs: Path) -> Iterator[tuple[Postgres, Mlflow]]:
    """Run a new MLflow server with passwords and a new PostgreSQL as its database."""
    postgres = Postgres(programs=programs)
    server = Mlflow(
        folder=folder,
        database=postgres.uri,
        password=f"canary-{secrets.token_hex(8)}",
        variables={"PGPASSWORD": postgres.password},
    )
    try:
        server.start()
        yield postgres, server
    finally:
        server.kill()
        postgres.remove()
