"""Classifiers that a cross-validation or a fine-tuning has trained, and who was on which side of their folds."""

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
from emotune.tasks.classify import Classify, ClassifyObjective
from emotune.training.checkpoints import newest_checkpoint, read_state, read_weights


@dataclass(frozen=True)
class Classifier:
    """A classifier, trained to its last epoch."""

    fold: int
    """The fold whose test segments it was not trained on."""
    experiment: Experiment
    checkpoint: Path
    sha256: str
    """Hash of its weights."""

    @property
    def task(self) -> Classify:
        """What it tells apart."""
        assert isinstance(self.experiment.task, Classify)
        return self.experiment.task

    def load(self, store: SegmentStore) -> ClassifyObjective:
        """Make its network with the weights of the checkpoint, in evaluation mode.

        Raises:
            DamageError: The checkpoint is not what was written.
        """
        objective = self.experiment.begin_untrained(self.experiment.training_data(store)).objective
        assert isinstance(objective, ClassifyObjective)
        objective.load_state_dict(read_weights(self.checkpoint))
        return objective.eval()


@dataclass(frozen=True, eq=False)
class Classifiers:
    """The classifiers of a cross-validation, one per fold, or the one of a fine-tuning."""

    name: str
    store: SegmentStore
    each: tuple[Classifier, ...]
    """In the order of the folds."""

    @property
    def numbers(self) -> list[int]:
        """Their folds."""
        return [one.fold for one in self.each]


@dataclass(frozen=True, eq=False)
class FoldMembership:
    """Who trained and who tested, moment by moment, whatever the number of leads.

    Attributes:
        moments: Names of the moments that were used, ascending.
        rows: Rows of the store that were used.
        moment_of: For each of these rows, which moment it is of.
        trained: Whether a fold's classifier was trained on a moment.
        tested: Whether a moment is in a fold's test set.
        labels: High (1) or low (0).
    """

    moments: np.ndarray
    rows: Int64[np.ndarray, " row"]
    moment_of: Int64[np.ndarray, " row"]
    trained: Bool[np.ndarray, "moment fold"]
    tested: Bool[np.ndarray, "moment fold"]
    labels: Float[np.ndarray, " moment"]


def read_classifiers(folder: SearchFolder) -> Classifiers:
    """Find the classifiers of a finished cross-validation, or of a finished fine-tuning.

    Of a cross-validation that was also done with shuffled labels, those with the true labels are taken.

    Raises:
        SettingsError: It is neither, or not finished, or a checkpoint is gone.
        DataError: Its store is not the one it was trained on.
    """
    if not folder.begun:
        raise SettingsError(f"there is no cross-validation {folder.name!r} in {folder.root}")
    records = read_journal(folder.journal)
    if not records or opened(records).purpose not in {"fold", "finetune"}:
        raise SettingsError(f"{folder.name!r} is no cross-validation; make one with `emotune crossval`")
    evaluations = [one for one in _finished(records, name=folder.name) if not one.values.get("task.shuffled", False)]
    found = sorted((_classifier(one, folder) for one in evaluations), key=lambda one: one.fold)
    first = found[0].experiment
    if first.task.kind != "classify":
        raise SettingsError(f"{folder.name!r} was trained for task {first.task.kind!r}, where 'classify' is needed")
    return Classifiers(name=folder.name, store=SegmentStore.open(Path(first.store)), each=tuple(found))


def _finished(records: Sequence[Record], *, name: str) -> list[Evaluation]:
    results = evaluation_results(records)
    undone = [one for one in results if one.status != "done"]
    if undone or search_state(records, alive=False) != "finished":
        left = f", {len(undone)} of {len(results)} runs have no result" if undone else ""
        raise SettingsError(f"{name!r} is not finished{left}; start it again, it goes on where it stopped")
    return [one.evaluation for one in results]


def _classifier(evaluation: Evaluation, folder: SearchFolder) -> Classifier:
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
            f"{checkpoint} is of fold {fold}, where the journal says {evaluation.values.get('folds.index')}; "
            "start the cross-validation again with --fresh"
        )
    return Classifier(fold, experiment, checkpoint, sha256_of(checkpoint / "weights.safetensors"))


def fold_membership(classifiers: Classifiers) -> FoldMembership:
    """Tell of each moment which folds' classifiers were trained on it, and which folds test it.

    Raises:
        DataError: The store is not the one they were trained on.
    """
    index = classifiers.store.index
    trained, tested, used = (np.zeros((len(index), len(classifiers.each)), dtype=bool) for _ in range(3))
    labels = np.full(len(index), np.nan)
    for place, one in enumerate(classifiers.each):
        training_data = one.experiment.training_data(classifiers.store)
        assert training_data.labels is not None
        labels = training_data.labels
        fold = training_data.fold
        trained[fold.train, place] = True
        tested[fold.test, place] = True
        used[np.concatenate([fold.train, fold.val, fold.test]), place] = True
    rows = np.flatnonzero(used.any(axis=1))
    moments, first, moment_of = np.unique(
        unit_keys(index.iloc[rows], by="moment"), return_index=True, return_inverse=True
    )
    return FoldMembership(
        moments=moments,
        rows=rows,
        moment_of=moment_of.astype(np.int64),
        trained=_any_lead(trained[rows], moment_of=moment_of, count=len(moments)),
        tested=_any_lead(tested[rows], moment_of=moment_of, count=len(moments)),
        labels=labels[rows[first]],
    )


def _any_lead(
    flags: Bool[np.ndarray, "row fold"], *, moment_of: Int64[np.ndarray, " row"], count: int
) -> Bool[np.ndarray, "moment fold"]:
    gathered = np.zeros((count, flags.shape[1]), dtype=bool)
    np.logical_or.at(gathered, moment_of, flags)
    return gathered


def what_decides(classifiers: Classifiers) -> Mapping[str, object]:
    """Describe classifiers by what decides their answers: weights, experiments and store."""
    return {
        "name": classifiers.name,
        "store": classifiers.store.fingerprint,
        "folds": [
            {"fold": one.fold, "experiment": one.experiment.digest(), "weights": one.sha256} for one in classifiers.each
        ],
    }
