"""Provenance of results: commit, versions and machine, as text."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

PACKAGES = ("emotune", "torch", "ray", "mlflow", "numpy", "ConfigSpace", "hpbandster")
"""Packages whose versions are recorded."""


def provenance(*, packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return commit, versions and machine of this process, without user names, paths or environment variables.

    Returns:
        ``git_commit`` (with ``+changes`` if files differ from it) if the package is in a git work tree,
        ``python``, ``platform``, ``node``, ``processors``, and ``version.PACKAGE`` for those installed.
    """
    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "node": platform.node(),
        "processors": str(os.cpu_count()),
    }
    if commit := git_commit(Path(__file__).parent):
        facts["git_commit"] = commit
    for package in packages:
        try:
            facts[f"version.{package}"] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return facts


def git_commit(folder: Path) -> str | None:
    """Return the commit of a folder's git work tree; None if there is no work tree or no git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changes else commit


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
