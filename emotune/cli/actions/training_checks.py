"""``emotune doctor --study``: two short trainings before a search."""

from collections.abc import Iterator

from emotune.cli.actions.experiment_run import store_of
from emotune.data.store import SegmentStore
from emotune.doctor.findings import Finding, failure, ok, warning
from emotune.durations import duration
from emotune.errors import TrainingDivergedError
from emotune.evaluation.sanity import LOSS_FACTOR, MIN_PEOPLE, overfit_batch, score_random_labels
from emotune.experiment import Experiment
from emotune.study.bundled import find_study
from emotune.study.study import load_study


def check_training(study: str, *, store: str | None) -> Iterator[Finding]:
    """Train the default configuration of a study on one batch, and a classification on random labels.

    Args:
        study: File of the study, or its name in ``search_spaces``.
        store: Segment store; None: that of the study, or EMOTUNE_STORE.

    Raises:
        SettingsError: There is no such study, no store was given, or it does not fit.
        DataError: The store cannot be read, or has no labels for the task.
    """
    definition = load_study(find_study(study))
    base = definition.base if store is None else definition.base.model_copy(update={"store": store})
    opened = store_of(base)
    experiment = base.with_values(dict(definition.configuration_space().get_default_configuration()))
    yield _one_batch(experiment, store=opened)
    yield _random_labels(experiment, store=opened)


def _one_batch(experiment: Experiment, *, store: SegmentStore) -> Finding:
    name = "training on one batch"
    cure = f"plot the data with `emotune data describe {store.path} --plot page.png`, and check optim.lr of the study"
    try:
        result = overfit_batch(experiment, store=store)
    except TrainingDivergedError as error:
        return failure(name, str(error), cure)
    found = (
        f"loss {result.first:.4g} to {result.last:.4g}, a factor of {result.factor:.2g} in {result.steps} steps on "
        f"{result.segments} segments, {duration(result.seconds)}"
    )
    if result.passed:
        return ok(name, found)
    if not result.conclusive:
        return warning(name, f"{found}: too slow for a result", "check again on a machine that is free, or on a GPU")
    return failure(name, f"{found}; expected a factor of {LOSS_FACTOR:g}", cure)


def _random_labels(experiment: Experiment, *, store: SegmentStore) -> Finding:
    name = "training on random labels"
    try:
        score = score_random_labels(experiment, store=store)
    except TrainingDivergedError as error:
        return failure(name, str(error), "lower optim.lr of the study")
    if score is None:
        return ok(name, f"the task {experiment.task.kind} has no labels")
    if not score.conclusive:
        found = f"{score.people} held-out people with segments of two labels; expected at least {MIN_PEOPLE}"
        return warning(name, found, "raise folds.validation, or check with more people")
    found = (
        f"balanced accuracy {score.mean:.3f} ±{score.half_width:.3f} on {score.people} held-out people, "
        f"chance {score.chance:.3f}"
    )
    if score.passed:
        return ok(name, found)
    return failure(name, found, "labels of held-out people reach the training; set folds.by: subject")
