"""URIs of MLflow servers and databases: made from paths, read, and printed without their credentials."""

import re
from pathlib import Path
from urllib.parse import quote, unquote

CREDENTIALS = re.compile(r"(?<=://)(?:(?P<user>[^\s/:@?#]*):(?P<password>\S*)|[^/\s]*)@")
"""User name and password, or a token, of a URI. A password ends at the last ``@``: it may contain ``/`` and ``@``."""

SECRET_PARAMETER = re.compile(r"((?:password|token)=)[^&\s]+", re.IGNORECASE)
"""A password or token among the parameters of a URI."""

LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
"""A percent sign that begins no percent-encoded character."""


def public_uri(uri: str) -> str:
    """Return a URI, or a text that contains URIs, without user names, passwords and tokens."""
    return CREDENTIALS.sub("", SECRET_PARAMETER.sub(r"\1...", uri))


def is_server(uri: str) -> bool:
    """Return whether a URI is that of an MLflow server; otherwise it is a database or a folder."""
    return uri.startswith(("http://", "https://"))


def has_password(uri: str) -> bool:
    """Return whether a URI contains a password or a token."""
    credentials = CREDENTIALS.search(uri)
    return bool(credentials and credentials["password"] is not None) or SECRET_PARAMETER.search(uri) is not None


def encoded_uri(uri: str) -> str:
    """Return a URI whose password can be read by MLflow: ``/``, ``@`` and similar characters in it are percent-encoded.

    ``~`` at the start of a SQLite database's path is the home folder.

    Example:
        >>> encoded_uri("http://me:p/q@r@host:5000")
        'http://me:p%2Fq%40r@host:5000'
    """
    if uri.startswith("sqlite:///~"):
        return sqlite_uri(sqlite_path(uri).expanduser())

    def encode(match: re.Match[str]) -> str:
        if match["password"] is None:
            return match[0]
        password = quote(LONE_PERCENT.sub("%25", match["password"]), safe="%")
        return f"{match['user']}:{password}@"

    return CREDENTIALS.sub(encode, uri, count=1)


def sqlite_uri(path: Path) -> str:
    """Return the URI of a SQLite database; only what would be read differently in its path is percent-encoded.

    MLflow makes an empty folder of the encoded name beside that of the database.
    """
    return "sqlite:///" + re.sub(r"%(?=[0-9A-Fa-f]{2})|\?", lambda match: quote(match[0]), str(path))


def sqlite_path(uri: str) -> Path:
    """Return the path of the database of a ``sqlite:///`` URI."""
    return Path(unquote(uri.partition(":///")[2].partition("?")[0]))
