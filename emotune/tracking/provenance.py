"""Where results come from: the commit, the versions and the machine, as text."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

PACKAGES = ("emotune", "torch", "ray", "mlflow", "numpy", "ConfigSpace", "hpbandster")


def provenance(*, packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return what is needed to say later what made a result. No user names, paths or environment.

    Returns:
        ``git_commit`` (with ``+changes`` if files differ from it) if the package lies in a git work tree,
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
    """Return the commit of the work tree a folder lies in; None if it lies in none or there is no git."""
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
