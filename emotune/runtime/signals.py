"""Signals that end a search in order."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

logger = logging.getLogger(__name__)

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals after which the search saves and stops."""

STREAMS = (0, 1, 2)
"""File descriptors of standard input, output and errors."""


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call ``stop`` at the first SIGINT, SIGTERM or SIGHUP, and end at once at a second SIGINT or SIGTERM.

    SIGHUP reports that the terminal is gone. A shell and the kernel may both send it, and systemd sends it right after
    SIGTERM, so it never ends the search at once. It stays ignored if it was, as under ``nohup``.

    Python runs handlers in the main thread only; in another thread signals are left as they are.

    Args:
        stop: Called with the signal.

    Raises:
        KeyboardInterrupt: A second SIGINT or SIGTERM was received.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: signal.Signals | None = None
    terminals = [stream for stream in STREAMS if os.isatty(stream)]

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        del frame
        if number == signal.SIGHUP:
            _leave(terminals)
        elif first in {signal.SIGINT, signal.SIGTERM}:
            raise KeyboardInterrupt
        if first is None:
            name = signal.Signals(number).name
            logger.warning("%s received: saving and stopping; send it again to end at once", name)
        if first is None or number != signal.SIGHUP:
            first = signal.Signals(number)
            stop(first)

    numbers = [number for number in ENDING if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _leave(streams: Sequence[int]) -> None:
    """Replace streams by the null device: writing to a terminal that is gone fails."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in streams:
        os.dup2(null, stream)
    os.close(null)
