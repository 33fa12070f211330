"""``emotune fuse``: the features of the frozen models of two cross-validations, as one store."""

from pathlib import Path

import click

from emotune.cli.options import INPUT_PATH, json_option, storage_option


@click.command()
@click.argument("ecg")
@click.argument("eeg")
@click.option("--out", required=True, type=INPUT_PATH, help="Folder to write the features to.")
@storage_option
@json_option
def fuse(ecg: str, eeg: str, *, out: Path, storage: str, as_json: bool) -> None:
    """Compute the features of each moment with the models of the cross-validations ECG and EEG.

    For each fold, the last hidden activations of both frozen models are written to a store, which is
    the input of `emotune crossval examples/fusion.yaml`. Both cross-validations must have the same
    moments (--partner), target and folds. To tune a fusion, two fine-tunings of fold 0 can be given.
    If the store exists with the same content, nothing is computed.

    \b
    Example:
      emotune fuse ecg-arousal eeg-arousal --out stores/fused-arousal
    """
    from emotune.cli.actions.fuse import fuse_and_print

    fuse_and_print((ecg, eeg), out=out, storage=storage, as_json=as_json)
