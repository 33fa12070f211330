"""URIs of MLflow servers and databases, without their credentials."""

import re


def public_uri(uri: str) -> str:
    """Return a URI, or a text that contains URIs, without user names, passwords and tokens."""
    return re.sub(r"((?:password|token)=)[^&\s]+", r"\1...", re.sub(r"://[^/\s]*@", "://", uri), flags=re.IGNORECASE)


def has_password(uri: str) -> bool:
    """Return whether a URI contains a password or a token."""
    return re.search(r"://[^/\s@]*:[^/\s]*@|(?:password|token)=", uri, flags=re.IGNORECASE) is not None
