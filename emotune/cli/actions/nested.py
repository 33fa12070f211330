"""``emotune crossval --tune STUDY``: a search in each fold, on the training segments of that fold alone."""

from collections.abc import Mapping

from emotune.cli.actions.experiment_run import open_store, run
from emotune.cli.actions.run import Destination, put_aside
from emotune.cli.crossval import CrossValidationRequest
from emotune.cli.output import print_message
from emotune.data.folds import Folds
from emotune.errors import SettingsError
from emotune.evaluation.crossval import in_protocol
from emotune.experiment import Experiment
from emotune.runtime.options import RunOptions
from emotune.search.records import Value
from emotune.study.bundled import find_study
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.preview import preview, trained_epochs
from emotune.study.results import recorded_best, search_state
from emotune.study.study import Study, load_study

TunedValues = list[Mapping[str, Value]]
"""The best values of each fold, by the name of the setting."""


def tune_folds(
    experiment: Experiment, destination: Destination, *, request: CrossValidationRequest, folds: int | None
) -> tuple[int, TunedValues | None]:
    """Search the settings of each fold, or resume these searches.

    The search of fold K is named ``NAME-fold-K``. Its test segments are those of the fold, and no evaluation reads
    them. Its validation segments are drawn from the others, by the unit of the protocol: the share
    ``folds.validation`` of the experiment, or the default where that is 0.

    Args:
        experiment: The experiment of the cross-validation, the base of the searches.
        destination: Where the cross-validation is recorded.
        request: The options of the command; ``tune`` is given.
        folds: Number of folds; None with the protocol ``people``.

    Returns:
        The exit code, and the best values of each fold if all searches are finished.

    Raises:
        SettingsError: The study does not fit the experiment, or a search has no result.
    """
    studies = fold_studies(experiment, request=request, folds=folds)
    planned = preview(studies[0])
    epochs = len(studies) * trained_epochs(planned)
    own_epochs = len(studies) * studies[0].base.epochs * (2 if request.shuffled else 1)
    print_message(
        f"nested tuning: {len(studies)} searches of about {len(planned)} evaluations, {epochs:,} epochs; the folds "
        f"themselves train {own_epochs:,} epochs"
    )
    tuned: TunedValues = []
    for number, study in enumerate(studies):
        own = Destination(
            f"{destination.name}-fold-{number}", destination.storage, destination.tracking_uri, notify=request.notify
        )
        if request.fresh:
            put_aside(own.folder)
        if not _is_finished(own.folder):
            settled, store = open_store(study, own.folder)
            code = run(settled, own, store=store, options=RunOptions(concurrency=request.concurrency))
            if code or not _is_finished(own.folder):
                print_message(f"fold {number} of {len(studies)} is not tuned; run the same command again to resume")
                return code, None
        tuned.append(_best_values(own.folder))
    return 0, tuned


def fold_studies(experiment: Experiment, *, request: CrossValidationRequest, folds: int | None) -> list[Study]:
    """Return the study of each fold: the experiment, with space, budget, searcher and objective of ``tune``.

    Args:
        experiment: The experiment of the cross-validation.
        request: The options of the command; ``tune`` is given.
        folds: Number of folds; None with the protocol ``people``.

    Raises:
        SettingsError: The study does not fit the experiment.
    """
    assert request.tune is not None
    base = in_protocol(experiment, protocol=request.protocol, folds=folds)
    own = base.folds.model_copy(update={"validation": experiment.folds.validation or Folds().validation})
    study = load_study(find_study(request.tune), base=base.model_copy(update={"folds": own}))
    return [study.model_copy(update={"base": study.base.in_fold(number)}) for number in base.folds.numbers]


def _is_finished(folder: SearchFolder) -> bool:
    return folder.begun and search_state(read_journal(folder.journal), alive=False) == "finished"


def _best_values(folder: SearchFolder) -> Mapping[str, Value]:
    best = recorded_best(read_journal(folder.journal))
    if best is None:
        raise SettingsError(
            f"the search {folder.name!r} has no result; see its failures with `emotune status {folder.name}`"
        )
    return best.values
