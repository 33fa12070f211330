"""Waiting for a bucket that is away."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from emotune.errors import StorageAwayError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

PATIENCE = 300.0
"""Seconds that a bucket may be away before whoever writes to it gives up."""

LONGEST_WAIT = 5.0
"""Most seconds between two attempts."""


def patiently(act: Callable[[], Result], *, what: str, seconds: float | None = None) -> Result:
    """Do something again and again while the bucket is away.

    Args:
        act: What to do.
        what: What it is about, for people.
        seconds: For how long; None: for some minutes.

    Raises:
        StorageAwayError: The bucket was away for longer.
    """
    seconds = PATIENCE if seconds is None else seconds
    until = time.monotonic() + seconds
    wait, told = 0.5, False
    while True:
        try:
            return act()
        except StorageAwayError as error:
            if time.monotonic() + wait > until:
                raise
            if not told:
                logger.warning("%s: waiting up to %.0f s for the storage: %s", what, seconds, error)
                told = True
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)
