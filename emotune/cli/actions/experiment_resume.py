"""``emotune resume`` of searches and runs of experiments."""

from collections.abc import Sequence

from emotune.cli.actions.crossval import cross_validate, print_result
from emotune.cli.actions.experiment_run import open_store, run
from emotune.cli.actions.folders import store_path
from emotune.cli.actions.resume import ResumeChanges, recorded_options
from emotune.cli.actions.run import Destination
from emotune.cli.actions.single_run import print_metrics
from emotune.search.records import Record
from emotune.study.results import opened
from emotune.study.study import Study


def resume_experiments(records: Sequence[Record], destination: Destination, *, changes: ResumeChanges) -> int:
    """Resume a search or run of experiments, and print its progress and results; returns the exit code."""
    first = opened(records)
    study = Study.recorded(first.study)
    if changes.store is not None:
        store = str(store_path(changes.store))
        study = study.model_copy(update={"base": study.base.model_copy(update={"store": store})})
    options = recorded_options(records, destination, changes=changes)
    if first.purpose == "fold":
        code, result = cross_validate(
            study, destination, concurrency=options.concurrency, retry_failed=changes.retry_failed
        )
        if result is not None:
            print_result(result, as_json=changes.as_json)
        return code
    study, opened_store = open_store(study, destination.folder)
    code = run(study, destination, store=opened_store, options=options)
    if code == 0 and first.purpose != "configuration":
        print_metrics(destination.folder, training_data=study.base.select(opened_store), as_json=changes.as_json)
    return code
