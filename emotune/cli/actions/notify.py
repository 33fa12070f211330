"""``--notify``: a command or a URL receives the events of a run: a new best result, its end, its failure.

An event is one JSON object. A command receives it on standard input, and its parts in environment variables; a URL
receives it by POST. A thread sends them, so that a slow receiver delays nothing. A failure of the receiver is a line
in the log.
"""

import contextlib
import json
import logging
import os
import queue
import re
import shlex
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from emotune.errors import EmotuneError, SettingsError
from emotune.search.ranking import Result, best
from emotune.search.records import Closed, Ended, Evaluation, Record, Started
from emotune.study.definition import SearchDefinition

logger = logging.getLogger(__name__)

COMMAND_TIMEOUT_S = 30.0
"""Time after which a command is ended."""

REQUEST_TIMEOUT_S = 10.0
"""Time after which a request is given up."""

CLOSING_TIMEOUT_S = 60.0
"""The end of a run waits this long for the events that are not sent yet."""

MAX_QUEUED_EVENTS = 100
"""Events that wait for a slow receiver; later ones of a new best result are dropped, with a line in the log."""

PASSWORD = re.compile(r"(\w+://)[^/\s@]*@")
"""User name and password of a URL in a text."""

Event = dict[str, Any]


def check_target(target: str) -> str:
    """Return a command or URL that events can be sent to.

    Raises:
        SettingsError: It is neither a URL of http or https nor a command whose program exists.
    """
    if re.match(r"\w+://", target):
        parts = urlsplit(target)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError(f"--notify {_public(target)}: expected a command, or a URL with http:// or https://")
        return target
    try:
        words = shlex.split(target)
    except ValueError as error:
        raise SettingsError(f"--notify {target!r}: a quotation mark is not closed ({error})") from error
    if not words or shutil.which(words[0]) is None:
        raise SettingsError(f"--notify {target!r}: there is no program {words[0] if words else ''!r}; give its path")
    return target


class Notifier:
    """An observer of a run that sends its events. Use `notified` to make and close one.

    Args:
        targets: Commands and URLs.
        study: The study.
        name: Name of the run.
        known: Number of records of earlier drivers, about which nothing is sent.
    """

    def __init__(self, targets: Sequence[str], *, study: SearchDefinition, name: str, known: int) -> None:
        self._targets = targets
        self._objective, self._criteria = study.objective, study.criteria
        self._name = name
        self._known = known
        self._started: dict[int, Evaluation] = {}
        self._best: Result | None = None
        self._ended = 0
        self._is_over = False
        self._queue: queue.Queue[Event | None] = queue.Queue(MAX_QUEUED_EVENTS)
        self._thread = threading.Thread(target=self._send_all, daemon=True, name="emotune-notify")
        if targets:
            self._thread.start()

    def __call__(self, record: Record, number: int) -> None:
        """Process a record of the journal."""
        is_new = number >= self._known
        match record:
            case Started():
                self._started[record.evaluation.id] = record.evaluation
            case Ended():
                self._ended += 1
                if self._is_best(record) and is_new:
                    self._put("best")
            case Closed():
                self._is_over = is_new
                if is_new:
                    self._put(record.state, reason=record.reason)

    def _is_best(self, record: Ended) -> bool:
        if record.objective is None:
            return False
        known = [] if self._best is None else [self._best]
        result = self._criteria.ranked(self._started[record.evaluation_id], record)
        before, self._best = self._best, best([*known, result], mode=self._objective.mode)
        return self._best != before

    def fail(self, error: BaseException) -> None:
        """Send that the run failed, unless its end was sent, or the user's command was refused at once."""
        is_mistake = isinstance(error, EmotuneError) and error.exit_code == 2
        if not self._is_over and not is_mistake:
            self._put("failed", reason=str(error) or type(error).__name__)

    def _put(self, event: str, *, reason: str = "") -> None:
        if not self._targets:
            return
        document: Event = {
            "event": event,
            "name": self._name,
            "time": time.time(),
            "evaluations": self._ended,
            "metric": self._objective.metric,
            "objective": None,
            "reason": _public(reason),
        }
        if self._best is not None:
            evaluation, objective, _ = self._best
            document |= {
                "objective": objective,
                "config_id": evaluation.config_id,
                "epochs": evaluation.to_epoch,
                "values": evaluation.values,
            }
        try:
            self._queue.put_nowait(document)
        except queue.Full:
            logger.warning("--notify: the receiver is too slow; the event %s is not sent", event)

    def close(self) -> None:
        """Wait until all events are sent, for at most `CLOSING_TIMEOUT_S`."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=CLOSING_TIMEOUT_S)
        self._thread.join(CLOSING_TIMEOUT_S)
        if self._thread.is_alive():
            logger.warning("--notify: %d events were not sent in time", self._queue.qsize())

    def _send_all(self) -> None:
        while (event := self._queue.get()) is not None:
            for target in self._targets:
                send(event, target=target)


@contextlib.contextmanager
def notified(targets: Sequence[str], *, study: SearchDefinition, name: str, known: int) -> Iterator[Notifier]:
    """Send the events of a run in a ``with`` statement; an exception in it is a failure of the run."""
    notifier = Notifier(targets, study=study, name=name, known=known)
    try:
        yield notifier
    except BaseException as error:
        notifier.fail(error)
        raise
    finally:
        notifier.close()


def send(event: Mapping[str, Any], *, target: str) -> None:
    """Send an event to a command or a URL. A failure is logged and raises nothing."""
    try:
        if re.match(r"https?://", target):
            _post(event, url=target)
        else:
            _run(event, command=target)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        logger.warning("--notify %s: %s was not sent: %s", _short(target), event["event"], _reason(error))


def _run(event: Mapping[str, Any], *, command: str) -> None:
    """Run a command without a shell, with the event on standard input and in ``EMOTUNE_*`` variables."""
    words = {"event", "name", "metric", "objective", "reason", "evaluations"}
    variables = {f"EMOTUNE_{key.upper()}": "" if event[key] is None else str(event[key]) for key in words}
    done = subprocess.run(
        shlex.split(command),
        input=json.dumps(event).encode(),
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise OSError(f"exit code {done.returncode}{f': {lines[-1]}' if lines else ''}")


def _post(event: Mapping[str, Any], *, url: str) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "emotune"}
    request = urllib.request.Request(url, data=json.dumps(event).encode(), headers=headers, method="POST")
    with _opener().open(request, timeout=REQUEST_TIMEOUT_S):
        pass


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener of http and https without redirections, which may lead to another scheme or host."""
    opener = urllib.request.OpenerDirector()
    handlers = (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _short(target: str) -> str:
    """Return a command, or the server of a URL, whose path is often a secret."""
    parts = urlsplit(target)
    return f"{parts.scheme}://{parts.hostname}" if re.match(r"https?://", target) else shlex.split(target)[0]


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took more than {error.timeout:g} s"
    return str(error)


def _public(text: str) -> str:
    """Return a text without the passwords of URLs in it."""
    return PASSWORD.sub(r"\1", text)
