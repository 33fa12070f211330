"""MLflow as a mirror of a search's journal: sent by a thread, sent again when in doubt, never waited for."""

import logging
import queue
import threading
from collections.abc import Sequence

from mlflow.exceptions import MlflowException

from emotune.search.records import Opened, Record
from emotune.storage import Storage
from emotune.tracking.cursor import Cursor, public_uri, read_cursor, write_cursor
from emotune.tracking.plan import Changes, Kind, Plan, search_id
from emotune.tracking.provenance import provenance
from emotune.tracking.store import OUTAGES, MlflowStore, brief

logger = logging.getLogger(__name__)

_SLICE = 500  # records sent between two notes of the cursor
_FIRST_WAIT, _LONGEST_WAIT, _LAST_WAIT = 0.5, 30.0, 0.3  # seconds between attempts; the last while closing


class MlflowMirror:
    """Keeps an MLflow experiment equal to a journal: the journal is the truth, MLflow a function of it.

    It is an observer of records: calling it puts the record in a queue and returns. If the server is away, a
    thread tries again for ever. What is missing when the driver ends is delivered by the next one, or by
    `deliver_all`. How far it got is noted in ``tracking.json`` in the search's folder; if that is lost, or
    the server is another one, everything is sent again, and MLflow stores it once.
    """

    def __init__(self, tracking_uri: str, *, folder: Storage, name: str, kind: Kind = "configuration") -> None:
        self._uri = tracking_uri
        self._folder = folder
        self._name = name
        self._kind: Kind = kind
        self._records: list[Record] = []
        self._delivered = 0
        self._plan: Plan | None = None
        self._store: MlflowStore | None = None
        self._facts: dict[str, str] | None = None
        self._complaint = ""
        self._lost = 0
        self._in_doubt = False
        self._incoming: queue.SimpleQueue[tuple[int, Sequence[Record]] | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-mirror", daemon=True)
        self._thread.start()

    def __call__(self, record: Record, number: int) -> None:
        """Take note of a record, number 0 being the journal's first. Returns at once, never raises."""
        self._incoming.put((number, [record]))

    def catch_up(self, records: Sequence[Record]) -> None:
        """Take note of the records of earlier drivers, from the first on. Returns at once, never raises."""
        self._incoming.put((0, list(records)))

    def close(self, timeout: int | float) -> bool:
        """Deliver what is left as far as the time allows, and end.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether MLflow has everything now.
        """
        if not self._closing.is_set():
            self._closing.set()
            self._incoming.put(None)
        self._thread.join(timeout)
        self._abandoned.set()
        complete = not self._thread.is_alive() and self._delivered == len(self._records) and not self._lost
        if not complete:
            logger.warning(
                "MLflow at %s does not have everything yet; the rest is sent when the search starts again",
                public_uri(self._uri),
            )
        return complete

    def _work(self) -> None:
        """Deliver records until the mirror is closed and nothing is left, or it is abandoned."""
        wait = _FIRST_WAIT
        while not self._abandoned.is_set():
            self._take()
            if self._delivered == len(self._records):
                self._tidy_up()
                return  # nothing is left after a blocking take only when closing
            try:
                self._deliver_slice()
            except OUTAGES as error:
                self._complain(error)
                self._plan = None  # begin the slice again; an answer may be lost, so look for the runs again
                self._in_doubt = True
                if not self._closing.wait(wait):
                    wait = min(2 * wait, _LONGEST_WAIT)
                else:
                    self._abandoned.wait(_LAST_WAIT)
            else:
                self._complaint = ""
                wait = _FIRST_WAIT

    def _tidy_up(self) -> None:
        """After a trouble, look once more for runs that are there twice: a server may store them very late."""
        if self._in_doubt and self._store is not None:
            try:
                self._store.find_runs()
            except OUTAGES as error:
                self._complain(error)

    def _take(self) -> None:
        """Take everything that has come in; wait for it if there is nothing else to do."""
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
                logger.error("record %d of the journal came after %d: not sent", number, len(self._records))
            self._records.extend(records[len(self._records) - number :] if number <= len(self._records) else [])

    def _deliver_slice(self) -> None:
        """Send what follows from the next records, and note that it was sent."""
        if self._plan is None:
            self._store, self._plan = self._connect()
        assert self._store is not None
        end = min(self._delivered + _SLICE, len(self._records))
        changes: Changes = {}
        for record in self._records[self._delivered : end]:
            self._plan.absorb(record, changes)
        for key, change in changes.items():
            if self._abandoned.is_set():
                return
            self._store.send(key, change=change)
        self._note(self._store, delivered=end)

    def _note(self, store: MlflowStore, *, delivered: int) -> None:
        cursor = Cursor(
            uri=public_uri(self._uri),
            search_id=store.search_id,
            experiment_id=store.experiment_id,
            delivered=delivered,
            runs=store.runs,
        )
        write_cursor(cursor, folder=self._folder)
        self._delivered = delivered
        self._lost += store.lost
        store.lost = 0

    def _connect(self) -> tuple[MlflowStore, Plan]:
        """Find the experiment and its runs; go on where the cursor says if it fits, else from the start."""
        opened = self._records[0]
        assert isinstance(opened, Opened)
        cursor = read_cursor(self._folder)
        store = MlflowStore(self._uri, name=self._name, search_id=search_id(opened), known=cursor.runs)
        fits = (
            cursor.uri == public_uri(self._uri)
            and cursor.search_id == store.search_id
            and cursor.experiment_id == store.experiment_id
            and cursor.runs.items() <= store.runs.items()
        )
        self._delivered = min(cursor.delivered, len(self._records)) if fits else 0
        self._facts = self._facts or provenance()
        plan = Plan(kind=self._kind, provenance=self._facts)
        for record in self._records[: self._delivered]:
            plan.absorb(record, {})
        return store, plan

    def _complain(self, error: Exception) -> None:
        """Say what is wrong, once for as long as it stays the same."""
        status = error.get_http_status_code() if isinstance(error, MlflowException) else 503
        advice = {
            401: "refuses the password: check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            403: "does not allow this user to write: ask for the right, or give another --tracking-uri",
            404: "does not answer as an MLflow server does: check --tracking-uri",
        }.get(status, "cannot be used now")
        if advice != self._complaint:
            self._complaint = advice
            logger.warning(
                "MLflow at %s %s. The search goes on, and what is missing is sent later. (%s)",
                public_uri(self._uri),
                advice,
                brief(error),
            )


def deliver_all(
    records: Sequence[Record], *, tracking_uri: str, folder: Storage, name: str, kind: Kind = "configuration"
) -> bool:
    """Bring MLflow up to date with a journal, in one go; give up after ten minutes.

    Returns:
        Whether MLflow has everything now.
    """
    mirror = MlflowMirror(tracking_uri, folder=folder, name=name, kind=kind)
    mirror.catch_up(records)
    return mirror.close(600)
