"""What pre-trained encoders and the test segments of a cross-validation have in common: people, and moments."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from emotune.data.folds import Folds, HeldOutMoments
from emotune.data.people import Overlap, People, overlap, people_of
from emotune.errors import SettingsError
from emotune.experiment import Experiment
from emotune.training.loop import TrainingData


def check_encoders(
    training_data: Mapping[int, TrainingData],
    *,
    folds: Folds,
    descriptions: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """Check that pre-trained encoders were not pre-trained on their test segments.

    People are compared, not names of corpora, see `emotune.data.people`.

    Args:
        training_data: Training data of the cross-validation, by fold.
        folds: The folds of the cross-validation.
        descriptions: The description (``about``) in each encoder's checkpoint, by ``encoder`` and ``second``.

    Returns:
        One sentence per encoder about its pre-training, for the reader of the result.

    Raises:
        SettingsError: By the papers' protocol, an encoder was pre-trained on its test moments.
    """
    store = next(iter(training_data.values())).store
    rows = np.unique(np.concatenate([data.fold.test for data in training_data.values()]))
    tested, corpora = people_of(store, rows), sorted(store.index["corpus"].iloc[rows].unique())
    notes = []
    for role, about in descriptions.items():
        name = f"The {_adjective(role, descriptions)} encoder"
        shared = _shared_people(tested, about=about, corpora=corpora)
        if shared is None or shared.same:
            seen = sorted(set(corpora) & set(about.get("corpora", ())))
            if folds.by == "moment":
                notes += _check_half(folds, role=role, about=about, corpora=seen, alone=len(descriptions) == 1)
            else:
                notes.append(_describe_shared(name, shared, corpora=seen))
        elif shared.namesakes:
            notes.append(
                f"{name} was pre-trained on {shared.namesakes} people with the same names as test people, from a "
                "folder with other files. If they are the same people, the result is not one for new people: prepare "
                "both stores with the same --collection NAME, and with different ones otherwise."
            )
        else:
            notes.append(f"{name} was pre-trained on other people.")
    return notes


def _shared_people(tested: People, *, about: Mapping[str, Any], corpora: Sequence[str]) -> Overlap | None:
    """Return what test people and those of a pre-training have in common.

    None: the encoder's description does not list its people, since an older version wrote it, but it was pre-trained
    on a corpus of the same name.
    """
    if "people" in about:
        return overlap(tested, People.model_validate(about["people"]))
    return None if set(corpora) & set(about.get("corpora", ())) else Overlap(0, 0, len(tested.identities))


def _describe_shared(name: str, shared: Overlap | None, *, corpora: Sequence[str]) -> str:
    signals = (
        f"signals of {', '.join(corpora)}, perhaps including those of test people"
        if shared is None
        else f"signals of {shared.same} of the {shared.count} test people"
    )
    return (
        f"{name} was pre-trained, without labels, on {signals}. A result for new people needs an encoder that was not "
        "pre-trained on them."
    )


def _adjective(role: str, descriptions: Mapping[str, object]) -> str:
    return "pre-trained" if len(descriptions) == 1 else {"encoder": "first", "second": "second"}[role]


def _check_half(folds: Folds, *, role: str, about: Mapping[str, Any], corpora: Sequence[str], alone: bool) -> list[str]:
    pretraining = Experiment.model_validate(about["experiment"]).folds
    half: Literal["first", "second"] = "first" if role == "encoder" else "second"
    needed = HeldOutMoments(corpus=", ".join(corpora), half=half)
    same = (pretraining.count, pretraining.seed) == (folds.count, folds.seed)
    if alone or pretraining.without != needed or not same:
        expected = (
            f"count: {folds.count}, seed: {folds.seed}, index: null, validation: 0, "
            f"without: {{corpus: {needed.corpus}, half: {half}}}"
        )
        raise SettingsError(
            f"with --protocol paper, the {half} encoder must be pre-trained with folds: {{{expected}}} "
            f"(examples/pretrain_without_{half}.yaml), because it is tested on that half; give two: --encoder FIRST "
            "--encoder SECOND"
        )
    return [f"The {half} encoder was not pre-trained on the {half} half of the moments."]
