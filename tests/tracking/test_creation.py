"""The creation of a SQLite database of MLflow."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from emotune.tracking.store import MlflowStore
from emotune.tracking.uri import sqlite_uri

KILLED_AMONG_THE_TABLES = """
import os, signal, sys
import sqlalchemy
from emotune.tracking.store import MlflowStore

@sqlalchemy.event.listens_for(sqlalchemy.Engine, "after_cursor_execute")
def kill(connection, cursor, statement, *arguments):
    if "CREATE TABLE mcp_servers" in statement:
        os.kill(os.getpid(), signal.SIGKILL)

MlflowStore(sys.argv[1], name="search", search_id="a")
"""
"""MLflow cannot open a database in which a table exists that the recorded version of its schema does not have."""


def test_after_a_kill_while_the_tables_are_created_the_next_process_creates_them(tmp_path: Path) -> None:
    uri = sqlite_uri(tmp_path / "mlflow.db")
    killed = subprocess.run([sys.executable, "-c", KILLED_AMONG_THE_TABLES, uri], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / ".mlflow.db.draft").stat().st_size > 0
    before = os.umask(0o002)
    try:
        store = MlflowStore(uri, name="search", search_id="a")
    finally:
        os.umask(before)
    assert store.experiment_id
    assert [file.name for file in tmp_path.iterdir() if file.name.endswith((".db", ".draft"))] == ["mlflow.db"]
    assert (tmp_path / "mlflow.db").stat().st_mode & 0o777 == 0o664
