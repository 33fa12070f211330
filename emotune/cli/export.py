"""``emotune export``: an encoder, a classifier or the results of a search as files for other programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from emotune.cli.options import INPUT_PATH, RunRequest, json_option, run_options, storage_option, tracking_option


@dataclass(frozen=True, kw_only=True)
class ExportRequest(RunRequest):
    """The options of ``emotune export``."""

    model: str
    """Name of the model or search."""

    format: Literal["hf", "onnx", "pt2", "deepcave"]
    """Format of the files."""

    out: Path
    """Folder to write."""

    part: Literal["encoder", "classifier"] | None
    """The encoder or the classifier."""


@click.command()
@click.argument("model", metavar="NAME")
@run_options(
    ExportRequest,
    click.option(
        "--format",
        type=click.Choice(["hf", "onnx", "pt2", "deepcave"]),
        default="hf",
        show_default=True,
        help="hf: model.safetensors, for emotune and the Hugging Face Hub. onnx: ONNX. pt2: torch.export. "
        "deepcave: the results of a search, for DeepCAVE and hpbandster.",
    ),
    click.option("--out", required=True, type=INPUT_PATH, metavar="DIR", help="Folder to write; new or empty."),
    click.option(
        "--part",
        type=click.Choice(["encoder", "classifier"]),
        help="What to export.  [default: the classifier if there is one]",
    ),
    json_option,
    storage_option,
    tracking_option,
)
def export(request: ExportRequest) -> int:
    """Export the encoder or the classifier of NAME into a folder, with its preparation and a model card.

    With --format deepcave, export the results of the search NAME, for DeepCAVE and hpbandster.

    NAME is a search (its best configuration), a fine-tuning, a checkpoint folder, a folder of this command or
    an MLflow run. An encoder returns an embedding per segment, a classifier the probability of the high class.
    ONNX and PT2 graphs take any batch size; their outputs are compared with those of the network, and a
    difference above 1e-5 is refused. ONNX needs `pip install 'emotune[onnx]'`. A graph of a classifier with
    task.centre: person subtracts the mean of its batch: give all segments of one person and ECG lead.

    The model card README.md has the training data with their licences, the scores with intervals, and limits.
    Paths and hashes of people are left out.

    \b
    Example:
      emotune export ecg_pretrain --format onnx --out exported/ecg
      emotune export ecg_pretrain --format deepcave --out exported/search
    """
    from emotune.cli.actions.export import export_and_print, export_results

    (export_results if request.format == "deepcave" else export_and_print)(request)
    return 0
