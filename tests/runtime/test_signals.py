"""Signals: the first ends a search in order, a second SIGINT or SIGTERM ends it at once, and SIGHUP never does."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from emotune.runtime.signals import ENDING, stop_on_signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Give each test Python's handlers, and restore those of the test run."""
    previous = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_the_first_signal_stops_in_order_and_the_handlers_are_restored(number: signal.Signals) -> None:
    received: list[signal.Signals] = []
    with stop_on_signals(received.append):
        signal.raise_signal(number)
    assert received == [number]
    assert {signal.getsignal(number) for number in ENDING} == {signal.SIG_DFL}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once(number: signal.Signals) -> None:
    with stop_on_signals(lambda _: None):
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_hang_ups_around_sigterm_do_not_end_at_once() -> None:
    received: list[signal.Signals] = []
    with stop_on_signals(received.append):
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
    assert received == [signal.SIGHUP, signal.SIGTERM]


def test_under_nohup_a_hang_up_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    received: list[signal.Signals] = []
    with stop_on_signals(received.append):
        signal.raise_signal(signal.SIGHUP)
    assert received == []


PROGRAM = """
import os, signal, time
from emotune.runtime.signals import stop_on_signals
received = []
with stop_on_signals(received.append):
    print("ready", flush=True)
    while not received:
        time.sleep(0.01)
    print("saved", flush=True)
os._exit(3)
"""


def test_printing_works_after_the_terminal_is_gone() -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-c", PROGRAM], stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    assert b"ready" in os.read(master, 1024)
    os.close(master)
    assert process.wait(20) == 3
