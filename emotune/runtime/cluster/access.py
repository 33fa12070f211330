"""Who can reach the Ray that is started here: this machine only, and whoever can read this user's token."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from ray._common.utils import get_ray_address_file
from ray._private import ray_constants


def keep_to_this_machine() -> None:
    """Let a Ray that is started from here listen on the loopback interface only.

    ``ray.init`` replaces a loopback address that it is given by one that others can reach, and then listens on
    all interfaces. It does otherwise where Ray knows no clusters, as on macOS and Windows, and says so by this
    constant; its own child processes read the variable.
    """
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"


def is_announced() -> bool:
    """Tell whether a cluster of this user's, or of root's, has left word on this machine that it runs.

    Anybody can leave word in Ray's temporary folder, and whoever connects to a stranger's cluster hands over
    the token and unpickles what comes back.
    """
    try:
        return Path(get_ray_address_file(None)).stat().st_uid in {0, os.getuid()}
    except FileNotFoundError:
        return False


def guard_token(*, make: bool) -> None:
    """Keep Ray's token, which lets its holder run code on the cluster, to the user.

    Ray itself writes ``~/.ray/auth_token`` as the umask has it, mostly readable by everybody.

    Args:
        make: Make one if there is none, and Ray would make one.
    """
    given = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if given or os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    path = Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(PermissionError):  # a home that is not ours: Ray will say what it cannot do
        if make and not path.exists():
            _make(path)
        if path.exists():
            path.chmod(0o600)


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent)  # for the user alone, whatever the umask
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    with contextlib.suppress(FileExistsError):  # another process was faster
        os.link(draft, path)
    Path(draft).unlink()
