"""``emotune predict``: probabilities of trained classifiers for one recording, or scores on a labelled store."""

from dataclasses import dataclass
from pathlib import Path

import click

from emotune.cli.options import (
    INPUT_PATH,
    OUTPUT_PATH,
    RunRequest,
    json_option,
    run_options,
    storage_option,
    tracking_option,
)


@dataclass(frozen=True, kw_only=True)
class PredictRequest(RunRequest):
    """The options of ``emotune predict``."""

    models: str
    """Names of the models, separated by commas."""

    file: Path
    """The recording, or a segment store."""

    fs: float | None
    """Samples per second."""

    csv: Path | None
    """Table to write."""

    plot: Path | None
    """Picture to write."""


@click.command()
@click.argument("models", metavar="MODEL[,MODEL]")
@click.argument("file", type=INPUT_PATH)
@run_options(
    PredictRequest,
    click.option("--fs", type=float, metavar="HZ", help="Samples per second, if FILE does not contain it (CSV)."),
    json_option,
    click.option("--csv", type=OUTPUT_PATH, metavar="FILE.csv", help="Write a table with one row per segment."),
    click.option("--plot", type=OUTPUT_PATH, metavar="FILE.png", help="Draw the signal and the probabilities."),
    storage_option,
    tracking_option,
)
def predict(request: PredictRequest) -> int:
    """Predict arousal and valence of a recording: the probability of a high rating for each segment of FILE.

    A classifier of conditions prints the probability of its condition. Probabilities are those in data such as the
    training segments; between 0.4 and 0.6 the label is undecided.

    MODEL is a fine-tuning, a cross-validation (the mean of its folds is used), a checkpoint folder, a
    folder of `emotune export --format hf` or an MLflow run; several are separated by commas. FILE is a
    .npz, EDF, WFDB (.hea), BrainVision (.vhdr) or CSV recording.
    It is prepared as the training data were, except that it is standardised with its own mean and
    deviation, because no other recording of the person is available. In a recording of a single state,
    differences of amplitude between states are lost.

    The cross-validation of a fusion needs a FILE with both ECG and EEG, and the two cross-validations that were
    fused in the same storage. It prints the probabilities of both and of the fusion, in the segments that both have.

    FILE can also be a segment store with labels. Then the scores are printed, by person and by trial, with 95 %
    intervals over people. A store with people that MODEL was trained on is refused. If MODEL is a pre-training,
    the loss and the other metrics of its task are printed for each person of the store, which needs no labels.

    \b
    Example:
      emotune predict ours-arousal,ours-valence recording.edf --plot recording.png
      emotune predict fused-arousal recording.edf
      emotune predict ours-arousal stores/other-people
      emotune predict pretrained stores/other-people
    """
    from emotune.cli.actions.predict import predict_and_print

    predict_and_print(request)
    return 0
