"""Repeating a request while a storage is away."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from emotune.errors import StorageAwayError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

PATIENCE_S = 300.0
"""Seconds that a storage may be away before a write to it fails."""

LONGEST_WAIT_S = 5.0
"""Most seconds between two attempts."""


def patiently(request: Callable[[], Result], *, what: object, seconds: float | None = None) -> Result:
    """Repeat a request until the storage answers, and return its result.

    Args:
        request: Raises `StorageAwayError` while the storage is away.
        what: The file or folder, for the log.
        seconds: How long to repeat; None: `PATIENCE_S`.

    Raises:
        StorageAwayError: The storage was away for longer.
    """
    seconds = PATIENCE_S if seconds is None else seconds
    deadline = time.monotonic() + seconds
    wait, logged = 0.5, False
    while True:
        try:
            return request()
        except StorageAwayError as error:
            if time.monotonic() + wait > deadline:
                raise
            if not logged:
                logger.warning("%s: waiting up to %.0f s for the storage: %s", what, seconds, error)
                logged = True
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT_S)
