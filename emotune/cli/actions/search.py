"""``emotune search``: find the study, and run it or print its plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emotune.cli.actions.folders import existing_records, resume_command
from emotune.cli.actions.resume import ResumeChanges, resume_run
from emotune.cli.actions.run import Destination
from emotune.cli.options import kept_configurations
from emotune.cli.search import SearchRequest
from emotune.documents import load_document
from emotune.errors import SettingsError
from emotune.files import SAFE_NAME
from emotune.runtime.options import RunOptions
from emotune.search.stopping import Amount
from emotune.storage import open_storage
from emotune.study.bundled import find_study
from emotune.study.folder import SearchFolder
from emotune.study.invocation import read_invocation
from emotune.study.journal import read_journal

DEFAULT_KEEP = "best:5"
"""Configurations of a new search whose checkpoints stay."""


@dataclass(frozen=True)
class SearchStart:
    """What the options of ``emotune search`` mean for a new search, or for one that exists."""

    request: SearchRequest
    destination: Destination
    is_new: bool
    """Whether the search has no records, or is started again."""
    amounts: Mapping[str, Amount]
    """``--brackets`` and ``--evaluations``."""

    @classmethod
    def of(cls, request: SearchRequest, *, default_name: str) -> "SearchStart":
        """Check the options.

        Raises:
            SettingsError: An option needs a search that exists, or one that does not.
        """
        destination = Destination.of(request, default_name=default_name)
        limits = {"brackets": request.brackets, "evaluations": request.evaluations}
        amounts = {name: amount for name, amount in limits.items() if amount is not None}
        _check_retry(request, destination)
        _check_share(request)
        _check_price(request)
        is_new = request.fresh or request.dry_run or not has_records(destination.folder)
        if is_new:
            _check_hours(request, name=destination.name)
        return cls(request, destination, is_new, amounts)

    def assignments(self) -> list[str]:
        """Return the options that replace settings of the study, as ``KEY=VALUE``."""
        name, seed = self.destination.name, self.request.seed
        return [
            *self.request.assignments,
            *(_limits_of_new_search(self.amounts, name=name) if self.is_new else []),
            *([] if seed is None else [f"seed={seed}"]),
        ]

    def options(self) -> RunOptions:
        """Return how the search is run."""
        request, workers = self.request, self.request.workers_per_trial
        default = DEFAULT_KEEP if self.is_new else read_invocation(self.destination.folder.storage).keep
        return RunOptions(
            concurrency=request.concurrency,
            amounts=self.amounts,
            warm_start=request.warm_start,
            retry_failed=request.retry_failed,
            share=1.0 if request.share is None else request.share,
            workers=(workers, workers) if workers > 1 else None,
            trials_per_gpu=request.trials_per_gpu,
            hours=request.hours,
            keep=kept_configurations(request.keep or default),
        )


def _check_share(request: SearchRequest) -> None:
    """Refuse a share of the cluster beside a number of evaluations."""
    if request.share is not None and request.concurrency is not None:
        raise SettingsError(
            f"--share {request.share:g} and --concurrency {request.concurrency} were given; both set the number of "
            "evaluations at a time: give one"
        )


def _check_price(request: SearchRequest) -> None:
    """Refuse a price without a plan that it is printed in."""
    if request.price_per_hour is not None and not request.dry_run:
        raise SettingsError(
            f"--price-per-hour {request.price_per_hour:g} was given without --dry-run; add --dry-run, or give it to "
            "`emotune report` after the search"
        )


def search_or_plan(request: SearchRequest) -> int:
    """Carry out ``emotune search``; returns the exit code."""
    if request.retry_failed and _is_search(request):
        return resume_run(
            request.study,
            storage=request.storage,
            tracking_uri=request.tracking_uri,
            changes=ResumeChanges(request.store, request.concurrency, retry_failed=True, notify=request.notify),
        )
    path = _study_file(request)
    start = SearchStart.of(request, default_name=path.stem)
    document = load_document(path)
    if "trainable" in document.content:
        from emotune.cli.actions.trainable_search import search_trainable_or_plan

        return search_trainable_or_plan(start, document)
    from emotune.cli.actions.experiment_search import search_experiments_or_plan

    return search_experiments_or_plan(start, path)


def _study_file(request: SearchRequest) -> Path:
    """Return the file of the study.

    Raises:
        SettingsError: There is no such study; if a search has its name, the message says how to resume that.
    """
    try:
        return find_study(request.study)
    except SettingsError as error:
        if not _names_search(request):
            raise
        raise SettingsError(
            f"there is no study {request.study!r}, but a search of that name; resume it with "
            f"`{resume_command(request.study, storage=request.storage)}`"
        ) from error


def _is_search(request: SearchRequest) -> bool:
    """Return whether the study argument names an existing search, and no study."""
    try:
        find_study(request.study)
    except SettingsError:
        return _names_search(request)
    return False


def _names_search(request: SearchRequest) -> bool:
    """Return whether the study argument names a search."""
    root = open_storage(request.storage)
    return SAFE_NAME.fullmatch(request.study) is not None and SearchFolder.of(request.study, storage=root).begun


def _check_retry(request: SearchRequest, destination: Destination) -> None:
    """Refuse --retry-failed for a search that does not exist, or starts again."""
    if not request.retry_failed:
        return
    if request.fresh or request.dry_run:
        option = "--fresh" if request.fresh else "--dry-run"
        raise SettingsError(f"--retry-failed and {option} were given; leave one of them out")
    existing_records(destination.name, storage=request.storage)


def has_records(folder: SearchFolder) -> bool:
    """Return whether a search has a journal with records."""
    return folder.begun and bool(read_journal(folder.journal))


def _check_hours(request: SearchRequest, *, name: str) -> None:
    """Refuse ``--hours +H`` for a new search."""
    if request.hours is not None and request.hours.more:
        hours = request.hours.hours
        raise SettingsError(
            f"--hours +{hours:g} extends a search, but {name!r} is a new search; give --hours {hours:g}, or the --name "
            "of an existing search"
        )


def _limits_of_new_search(amounts: Mapping[str, Amount], *, name: str) -> list[str]:
    """Return the assignments that set the limits in the study of a new search."""
    for key, amount in amounts.items():
        if amount.more:
            raise SettingsError(
                f"--{key} +{amount.number} extends a finished search, but {name!r} is a new search; "
                f"give --{key} {amount.number}, or the --name of an existing search"
            )
    return [f"budget.{key}={amount.number}" for key, amount in amounts.items()]
