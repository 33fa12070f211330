"""The trained classifiers of a cross-validation or a fine-tuning, and the folds they were trained and tested on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64

from emotune.data.folds import unit_keys
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.experiment import Experiment
from emotune.files import sha256_of
from emotune.search.records import Evaluation, Record
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import evaluation_results, opened, search_state
from emotune.tasks.classify import ClassifierObjective, Classify
from emotune.training.checkpoints import newest_checkpoint, read_state, read_weights


@dataclass(frozen=True)
class Classifier:
    """A classifier, trained to its last epoch."""

    fold: int
    """Number of the fold; its test segments were not trained on."""
    experiment: Experiment
    checkpoint: Path
    sha256: str
    """SHA-256 of its weights file."""

    @property
    def task(self) -> Classify:
        """The classification task: target, threshold and head."""
        assert isinstance(self.experiment.task, Classify)
        return self.experiment.task

    def load(self, store: SegmentStore) -> ClassifierObjective:
        """Build the network with the weights of the checkpoint, on the CPU and in evaluation mode.

        Raises:
            DamageError: The checkpoint was changed after it was written.
        """
        compute = self.experiment.compute.model_copy(update={"device": "cpu", "compile": "off"})
        experiment = self.experiment.model_copy(update={"compute": compute})
        objective = experiment.begin_untrained(experiment.training_data(store)).objective
        assert isinstance(objective, ClassifierObjective)
        objective.load_state_dict(read_weights(self.checkpoint))
        return objective.eval()


@dataclass(frozen=True, eq=False)
class Classifiers:
    """The classifiers of a cross-validation, one per fold, or the one of a fine-tuning."""

    name: str
    store: SegmentStore
    members: tuple[Classifier, ...]
    """One classifier per fold, in the order of the folds."""

    @property
    def fold_numbers(self) -> list[int]:
        """Number of each classifier's fold."""
        return [member.fold for member in self.members]


@dataclass(frozen=True, eq=False)
class FoldMembership:
    """The training and test moments of each fold; the leads of a moment count as one.

    Attributes:
        moments: Names of the moments in any fold, ascending.
        rows: Rows of the store in any fold.
        moment_of: Position in ``moments`` of each of these rows.
        trained: True where a moment is in a fold's training set.
        tested: True where a moment is in a fold's test set.
        labels: Label of each moment, high (1) or low (0).
    """

    moments: np.ndarray
    rows: Int64[np.ndarray, " row"]
    moment_of: Int64[np.ndarray, " row"]
    trained: Bool[np.ndarray, "moment fold"]
    tested: Bool[np.ndarray, "moment fold"]
    labels: Float[np.ndarray, " moment"]


def read_classifiers(folder: SearchFolder) -> Classifiers:
    """Read the classifiers of a finished cross-validation, or of a finished fine-tuning.

    Folds with shuffled labels are left out.

    Raises:
        SettingsError: The search is neither, is not finished, or has lost a checkpoint.
        DataError: The store cannot be opened.
    """
    if not folder.begun:
        raise SettingsError(f"there is no cross-validation {folder.name!r} in {folder.root}")
    records = read_journal(folder.journal)
    if not records or opened(records).purpose not in {"fold", "finetune"}:
        raise SettingsError(f"{folder.name!r} is not a cross-validation; run one with `emotune crossval`")
    evaluations = [
        evaluation
        for evaluation in _finished_evaluations(records, name=folder.name)
        if not evaluation.values.get("task.shuffled", False)
    ]
    members = sorted(
        (_read_classifier(evaluation, folder) for evaluation in evaluations), key=lambda member: member.fold
    )
    first = members[0].experiment
    if first.task.kind != "classify":
        raise SettingsError(f"{folder.name!r} was trained for task {first.task.kind!r}, expected 'classify'")
    return Classifiers(name=folder.name, store=SegmentStore.open(Path(first.store)), members=tuple(members))


def _finished_evaluations(records: Sequence[Record], *, name: str) -> list[Evaluation]:
    results = evaluation_results(records)
    unfinished = [result for result in results if result.status != "done"]
    if unfinished or search_state(records, alive=False) != "finished":
        count = f", {len(unfinished)} of {len(results)} runs have no result" if unfinished else ""
        raise SettingsError(f"{name!r} is not finished{count}; start it again to resume it")
    return [result.evaluation for result in results]


def _read_classifier(evaluation: Evaluation, folder: SearchFolder) -> Classifier:
    checkpoint = newest_checkpoint(folder.checkpoints(evaluation.config_id))
    if checkpoint is None or checkpoint.name != f"epoch-{evaluation.to_epoch:06d}":
        raise SettingsError(
            f"{folder.name!r} has no undamaged checkpoint of configuration {evaluation.config_id} at epoch "
            f"{evaluation.to_epoch}; start it again with --fresh"
        )
    experiment = Experiment.model_validate(read_state(checkpoint)["about"]["experiment"])
    fold = experiment.folds.index
    if fold is None or fold != evaluation.values.get("folds.index", fold):
        raise SettingsError(
            f"{checkpoint} was trained on fold {fold}, expected fold {evaluation.values.get('folds.index')}; "
            "start the cross-validation again with --fresh"
        )
    return Classifier(fold, experiment, checkpoint, sha256_of(checkpoint / "weights.safetensors"))


def fold_membership(classifiers: Classifiers) -> FoldMembership:
    """Return the training and test moments of each fold.

    Raises:
        DataError: The store is not the one the classifiers were trained on.
    """
    index = classifiers.store.index
    trained, tested, used = (np.zeros((len(index), len(classifiers.members)), dtype=bool) for _ in range(3))
    labels = np.full(len(index), np.nan)
    for column, member in enumerate(classifiers.members):
        training_data = member.experiment.training_data(classifiers.store)
        assert training_data.labels is not None
        labels = training_data.labels
        fold = training_data.fold
        trained[fold.train, column] = True
        tested[fold.test, column] = True
        used[fold.rows, column] = True
    rows = np.flatnonzero(used.any(axis=1))
    moments, first, moment_of = np.unique(
        unit_keys(index.iloc[rows], by="moment"), return_index=True, return_inverse=True
    )
    return FoldMembership(
        moments=moments,
        rows=rows,
        moment_of=moment_of.astype(np.int64),
        trained=_combine_leads(trained[rows], moment_of=moment_of, count=len(moments)),
        tested=_combine_leads(tested[rows], moment_of=moment_of, count=len(moments)),
        labels=labels[rows[first]],
    )


def _combine_leads(
    flags: Bool[np.ndarray, "row fold"], *, moment_of: Int64[np.ndarray, " row"], count: int
) -> Bool[np.ndarray, "moment fold"]:
    combined = np.zeros((count, flags.shape[1]), dtype=bool)
    np.logical_or.at(combined, moment_of, flags)
    return combined


def identity_of(classifiers: Classifiers) -> Mapping[str, object]:
    """Return what determines the outputs of classifiers: weights, experiments and store."""
    return {
        "name": classifiers.name,
        "store": classifiers.store.fingerprint,
        "folds": [
            {"fold": member.fold, "experiment": member.experiment.digest(), "weights": member.sha256}
            for member in classifiers.members
        ],
    }
