"""``emotune scores``: scores of held-out predictions by person and by trial."""

from pathlib import Path
from typing import Literal

import click

from emotune.cli.options import OUTPUT_PATH, json_option, storage_option


@click.command()
@click.argument("name")
@click.option("--csv", type=OUTPUT_PATH, metavar="FILE.csv", help="Write a table with one row per test segment.")
@click.option(
    "--figure",
    type=OUTPUT_PATH,
    metavar="FILE.png",
    help="Draw a moment that one modality misses and the fusion does not (NAME is of a fusion); .png, .pdf or .svg.",
)
@click.option(
    "--wrong",
    type=click.Choice(["ecg", "eeg"]),
    default="ecg",
    show_default=True,
    help="The modality that is wrong in --figure.",
)
@storage_option
@json_option
def scores(
    name: str, *, csv: Path | None, figure: Path | None, wrong: Literal["ecg", "eeg"], storage: str, as_json: bool
) -> None:
    """Print the scores of the cross-validation or fine-tuning NAME on its test segments, by person and by trial.

    Each segment is predicted by a model that was not trained on it. A trial has the segments of a person's session
    with one label; it is classified by the vote of its segments and by their mean probability. Printed are the means
    over people with 95 % intervals, the scores of all people together, ROC AUC, calibration error and confusion.
    The predictions are kept in predictions.parquet in the folder of NAME. For runs of older versions they are
    computed from the checkpoints.

    --figure draws the signals of a test moment with the probabilities of ECG, EEG and fusion. It is the moment that
    --wrong misses most clearly, while the other modality and the fusion classify it correctly.

    \b
    Example:
      emotune scores ecg-subject
      emotune scores ecg-subject --csv predictions.csv
      emotune scores fused-arousal --figure moment.png
    """
    from emotune.cli.actions.scores import FigureRequest, print_scores

    drawn = None if figure is None else FigureRequest(figure, wrong)
    print_scores(name, csv=csv, figure=drawn, storage=storage, as_json=as_json)
