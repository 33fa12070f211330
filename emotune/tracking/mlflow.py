"""The mirror of a search's journal in MLflow: a thread sends the records; the search does not wait for it."""

import logging
import queue
import threading
from collections.abc import Sequence

from mlflow.exceptions import MlflowException

from emotune.search.records import Opened, Record
from emotune.storage import Storage
from emotune.tracking.delivery import CONTENT_VERSION, DeliveryState, read_delivery_state, write_delivery_state
from emotune.tracking.description import Sender, account_name, search_id
from emotune.tracking.mlflow_content import Kind, MlflowContent, RunUpdates
from emotune.tracking.provenance import provenance
from emotune.tracking.store import OUTAGES, MlflowStore, one_line
from emotune.tracking.uri import public_uri

logger = logging.getLogger(__name__)

SLICE_RECORDS = 500
"""Number of records sent between two writes of the delivery state."""

FIRST_RETRY_S = 0.5
"""Delay before the first retry; it doubles up to `LONGEST_RETRY_S`."""

LONGEST_RETRY_S = 30.0
"""Longest delay between two retries."""

CLOSING_RETRY_S = 0.3
"""Delay between two retries while `MlflowMirror.close` waits."""

SYNC_TIMEOUT_S = 600
"""Time that `deliver_all` waits for MLflow."""


class MlflowMirror:
    """An observer of records that keeps an MLflow experiment equal to the journal.

    Calling it puts a record into a queue and returns. A thread sends the records, and retries without limit
    while the server is unreachable. The next driver, or `deliver_all`, sends what is missing when a driver
    ends. The number of delivered records is kept in ``tracking.json`` in the search's folder; if the file is
    lost, or the server has changed, all records are sent again. Sending is idempotent.

    Args:
        tracking_uri: The MLflow server or database.
        folder: The search's folder.
        name: The search's name.
        kind: Purpose of the journal.
    """

    def __init__(self, tracking_uri: str, *, folder: Storage, name: str, kind: Kind = "configuration") -> None:
        self._uri = tracking_uri
        self._folder = folder
        self._name = name
        self._kind: Kind = kind
        self._records: list[Record] = []
        self._delivered = 0
        self._content: MlflowContent | None = None
        self._store: MlflowStore | None = None
        self._provenance: dict[str, str] | None = None
        self._last_warning = ""
        self._refused = 0
        self._in_doubt = False
        self._view_failed = False
        self._incoming: queue.SimpleQueue[tuple[int, Sequence[Record]] | None] = queue.SimpleQueue()
        self._announced = threading.Event()
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-mirror", daemon=True)
        self._thread.start()

    def __call__(self, record: Record, number: int) -> None:
        """Queue a record for delivery; number 0 is the first of the journal. Returns at once, never raises."""
        self._incoming.put((number, [record]))

    @property
    def has_experiment(self) -> bool:
        """Whether MLflow has the experiment and its view, and the search's folder names it."""
        return self._announced.is_set()

    def catch_up(self, records: Sequence[Record]) -> None:
        """Queue the records of earlier drivers, from the first on. Returns at once, never raises."""
        self._incoming.put((0, list(records)))

    def close(self, timeout: int | float) -> bool:
        """Deliver the remaining records within the timeout, and end.

        Args:
            timeout: Longest wait (s).

        Returns:
            True if MLflow has all records.
        """
        if not self._closing.is_set():
            self._closing.set()
            self._incoming.put(None)
        self._thread.join(timeout)
        self._abandoned.set()
        complete = not self._thread.is_alive() and self._delivered == len(self._records) and not self._refused
        if not complete:
            logger.warning(
                "MLflow at %s has %d of %d records. The others are sent when "
                "the search starts again, or by `emotune sync`",
                public_uri(self._uri),
                self._delivered,
                len(self._records),
            )
        return complete

    def _work(self) -> None:
        """Deliver records until the mirror is closed and all are delivered, or the timeout of `close` has passed."""
        delay = FIRST_RETRY_S
        while not self._abandoned.is_set():
            self._receive()
            if self._delivered == len(self._records):
                self._delete_duplicates()
                return  # `_receive` blocks while there is nothing to deliver, unless the mirror is closed
            try:
                self._deliver_slice()
            except OUTAGES as error:
                self._warn(error)
                self._content = None  # a response may be lost: search for the runs, and send the slice again
                self._in_doubt = True
                if not self._closing.wait(delay):
                    delay = min(2 * delay, LONGEST_RETRY_S)
                else:
                    self._abandoned.wait(CLOSING_RETRY_S)
            else:
                self._last_warning = ""
                delay = FIRST_RETRY_S

    def _delete_duplicates(self) -> None:
        """After an outage, search once more for duplicate runs: a server may have stored a request late."""
        if self._in_doubt and self._store is not None:
            try:
                self._store.find_runs()
            except OUTAGES as error:
                self._warn(error)

    def _receive(self) -> None:
        """Move the queued records to the list; wait for one if all are delivered."""
        while True:
            idle = self._delivered == len(self._records) and not self._closing.is_set()
            try:
                item = self._incoming.get(block=idle)
            except queue.Empty:
                return
            if item is None:
                continue
            number, records = item
            if number > len(self._records):
                logger.error(
                    "MLflow: record %d of the journal was received after %d records; it is not sent",
                    number,
                    len(self._records),
                )
            self._records.extend(records[len(self._records) - number :] if number <= len(self._records) else [])

    def _deliver_slice(self) -> None:
        """Send the updates of the next records, and write the delivery state."""
        if self._content is None:
            self._store, self._content = self._connect()
        assert self._store is not None
        end = min(self._delivered + SLICE_RECORDS, len(self._records))
        updates: RunUpdates = {}
        for record in self._records[self._delivered : end]:
            self._content.add(record, updates)
        for key, update in updates.items():
            if self._abandoned.is_set():
                return
            self._store.send(key, update=update)
        self._write_view(self._store, self._content)
        self._write_state(self._store, delivered=end)

    def _write_view(self, store: MlflowStore, content: MlflowContent) -> None:
        """Write the tags of the experiment; a failure is logged once, and costs nothing but the view."""
        try:
            store.tag_experiment(content.experiment_tags())
        except (*OUTAGES, LookupError, TypeError, ValueError) as error:
            if not self._view_failed:
                logger.warning("MLflow: the view of experiment %s was not written: %s", self._name, one_line(error))
            self._view_failed = True

    def _write_state(self, store: MlflowStore, *, delivered: int) -> None:
        state = DeliveryState(
            uri=public_uri(self._uri),
            search_id=store.search_id,
            experiment_id=store.experiment_id,
            delivered=delivered,
            content=CONTENT_VERSION,
            runs=store.runs,
        )
        write_delivery_state(state, folder=self._folder)
        self._announced.set()
        self._delivered = delivered
        self._refused += store.refused
        store.refused = 0

    def _connect(self) -> tuple[MlflowStore, MlflowContent]:
        """Find the experiment and its runs; resume after the delivered records if they are in these runs."""
        opened = self._records[0]
        assert isinstance(opened, Opened)
        state = read_delivery_state(self._folder)
        store = MlflowStore(self._uri, name=self._name, search_id=search_id(opened), known=state.runs)
        matches = (
            state.content == CONTENT_VERSION
            and state.uri == public_uri(self._uri)
            and state.search_id == store.search_id
            and state.experiment_id == store.experiment_id
            and state.runs.items() <= store.runs.items()
        )
        self._delivered = min(state.delivered, len(self._records)) if matches else 0
        self._provenance = self._provenance or provenance()
        sender = Sender(user=account_name(), folder=str(self._folder))
        content = MlflowContent(kind=self._kind, provenance=self._provenance, sender=sender)
        for record in self._records[: self._delivered]:
            content.add(record, {})
        return store, content

    def _warn(self, error: Exception) -> None:
        """Log a warning, unless it repeats the last one."""
        status = error.get_http_status_code() if isinstance(error, MlflowException) else 503
        problem = {
            401: "refuses the password: check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            403: "does not allow this user to write: have the permission granted, or give another --tracking-uri",
            404: "is not an MLflow server: check --tracking-uri",
        }.get(status, "cannot be used now")
        if problem != self._last_warning:
            self._last_warning = problem
            logger.warning(
                "MLflow at %s %s. The search continues; missing records are sent later. (%s)",
                public_uri(self._uri),
                problem,
                one_line(error),
            )


def deliver_all(
    records: Sequence[Record], *, tracking_uri: str, folder: Storage, name: str, kind: Kind = "configuration"
) -> bool:
    """Deliver a whole journal to MLflow; give up after ten minutes.

    Returns:
        True if MLflow has all records.
    """
    mirror = MlflowMirror(tracking_uri, folder=folder, name=name, kind=kind)
    mirror.catch_up(records)
    return mirror.close(SYNC_TIMEOUT_S)
