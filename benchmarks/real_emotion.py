"""The multimodal paper's pipeline on real labels: rest or mental arithmetic, from ECG, EEG and both.

Pre-trains small encoders on ECG and EEG of other people, fine-tunes, fuses, and cross-validates by subject. Each
step is repeated from scratch, and compared with the majority label, shuffled labels, and a logistic regression on
the heart rate alone.

    python benchmarks/real_emotion.py RECORDINGS --out results/real

RECORDINGS: a folder with a manifest.csv whose files are named after their data set, ``eegmat`` (labels rest
and arithmetic) and others.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from emotune.data.folds import split
from emotune.data.modality import FUSED_MODALITIES
from emotune.data.signals import heart_rates
from emotune.data.store import SegmentStore
from emotune.evaluation.crossval import cross_validation_study
from emotune.evaluation.statistics import mean_interval
from emotune.experiment import Experiment

LABELLED = "eegmat"
FOLDS = 6
PREPARED = ["--seconds", "5", "--set", "rate=64", "--set", "band=[0.8,30.0]"]
MODEL = {"channels": [8, 16, 32], "kernels": [33, 17, 9], "layers": 1, "heads": 2, "feedforward": 64}
MODEL |= {"dropout": 0.05, "attention_dropout": 0.0}
TASK = {"kind": "classify", "target": "condition", "high": "arithmetic", "dropout": 0.2}
HIDDEN = {"ecg": [32, 16], "eeg": [16]}


def emotune(*arguments: str, out: Path) -> str:
    """Run the program, and return what it prints."""
    command = [sys.executable, "-m", "emotune", *arguments]
    environment = os.environ | {"EMOTUNE_STORAGE": str(out)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}\n{done.stderr[-2000:]}")
    return done.stdout


def make_corpora(recordings: Path, *, out: Path) -> None:
    """Divide the recordings into the labelled data set and all others, as links."""
    manifest = pd.read_csv(recordings / "manifest.csv", dtype=str, keep_default_na=False)
    labelled = manifest["file"].str.startswith(LABELLED)
    for name, part in (("labelled", manifest[labelled]), ("others", manifest[~labelled])):
        folder = out / name
        for file in part["file"]:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            if not (folder / file).exists():
                (folder / file).symlink_to((recordings / file).resolve())
        part.to_csv(folder / "manifest.csv", index=False)


def prepare(out: Path) -> None:
    """Prepare the four stores."""
    for name in ("labelled", "others"):
        for modality in ("ecg", "eeg"):
            store = str(out / f"{name}-{modality}")
            emotune(
                "data",
                "prepare",
                "folder",
                str(out / name),
                "--store",
                store,
                "--modality",
                modality,
                *PREPARED,
                out=out,
            )


def pretrain(out: Path, *, modality: str, epochs: int) -> None:
    """Pre-train an encoder on people who are not in the labelled data set."""
    study: dict[str, Any] = {
        "base": {
            "model": MODEL,
            "task": {"kind": "masked_values", "start_probability": 0.03, "span": 12, "head": 32},
            "optim": {"warmup_epochs": 1, "weight_decay": 0.0},
            "batch_size": 32,
            "folds": {"by": "moment", "index": None, "validation": 0.1, "segments": 2500, "validation_segments": 300},
        },
        "budget": {"min": epochs, "max": epochs, "evaluations": 1},
        "searcher": {"kind": "random"},
        "space": {
            "hyperparameters": [
                {
                    "name": "optim.lr",
                    "type": "uniform_float",
                    "lower": 1e-4,
                    "upper": 1e-2,
                    "log": True,
                    "default_value": 3e-3,
                }
            ]
        },
    }
    file = out / f"pretrain-{modality}.yaml"
    file.write_text(yaml.safe_dump(study))
    emotune("search", str(file), "--store", str(out / f"others-{modality}"), "--concurrency", "1", out=out)


def cross_validate(out: Path, *, modality: str, pretrained: bool, epochs: int) -> dict[str, Any]:
    """Fine-tune in every fold, and return the scores."""
    content = {
        "model": MODEL,
        "task": {**TASK, "hidden": HIDDEN[modality]},
        "optim": {"lr": 2e-3, "schedule": "linear", "warmup_epochs": 1, "weight_decay": 1e-5},
        "epochs": epochs,
        "batch_size": 32,
    }
    file = out / f"finetune-{modality}.yaml"
    file.write_text(yaml.safe_dump(content))
    (other,) = set(FUSED_MODALITIES) - {modality}
    name = f"{modality}-{'pretrained' if pretrained else 'scratch'}"
    options = ["--protocol", "subject", "--folds", str(FOLDS), "--name", name, "--json", "--concurrency", "2"]
    options += ["--store", str(out / f"labelled-{modality}"), "--partner", str(out / f"labelled-{other}")]
    options += ["--encoder", f"pretrain-{modality}"] if pretrained else ["--no-shuffled"]
    return json.loads(emotune("crossval", str(file), *options, out=out))


def fuse(out: Path, *, which: str) -> dict[str, Any]:
    """Fuse the classifiers of both modalities, and cross-validate the fusion."""
    store = str(out / f"features-{which}")
    emotune("fuse", f"ecg-{which}", f"eeg-{which}", "--out", store, out=out)
    width = HIDDEN["ecg"][-1] + HIDDEN["eeg"][-1]
    content = {
        "model": {"kind": "features", "width": width},
        "task": {**TASK, "hidden": [16], "dropout": 0.1},
        "optim": {"lr": 1e-3, "schedule": "step", "step_epochs": 20, "warmup_epochs": 0, "weight_decay": 1e-5},
        "epochs": 30,
        "batch_size": 32,
    }
    file = out / f"fusion-{which}.yaml"
    file.write_text(yaml.safe_dump(content))
    options = ["--protocol", "subject", "--folds", str(FOLDS), "--store", store, "--name", f"fused-{which}", "--json"]
    return json.loads(emotune("crossval", str(file), *options, "--concurrency", "2", out=out))


def heart_rate_alone(out: Path) -> list[float]:
    """Return the macro F1 of a logistic regression on each segment's heart rate, in the same folds."""
    store = SegmentStore.open(out / "labelled-ecg")
    rates = np.array([heart_rates(segment[0], fs=store.rate) for segment in store.signal])
    rates = np.where(np.isfinite(rates), rates, np.nanmedian(rates, axis=0))
    experiment = Experiment.model_validate({"task": {**TASK, "hidden": [1]}, "epochs": 100})
    labels = experiment.task.labels(store.index)
    assert labels is not None
    base = cross_validation_study(experiment, protocol="subject", folds=FOLDS).base
    scores = []
    for number in range(FOLDS):
        fold = split(store.index, base.in_fold(number).folds, labels=labels)
        model = LogisticRegression(class_weight="balanced").fit(rates[fold.train], labels[fold.train])
        scores.append(float(f1_score(labels[fold.test], model.predict(rates[fold.test]), average="macro")))
    return scores


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/real"))
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    out = given.out.absolute()
    make_corpora(given.recordings, out=out)
    prepare(out)
    rows: list[tuple[str, dict[str, Any]]] = []
    for modality in ("ecg", "eeg"):
        pretrain(out, modality=modality, epochs=given.epochs)
        for pretrained in (True, False):
            found = cross_validate(out, modality=modality, pretrained=pretrained, epochs=given.epochs)
            rows.append((f"{modality.upper()}, {'pre-trained' if pretrained else 'from scratch'}", found["summary"]))
    words = {"pretrained": "pre-trained", "scratch": "from scratch"}
    rows += [(f"fused, {word}", fuse(out, which=which)["summary"]) for which, word in words.items()]
    click.echo("| | macro F1 | balanced accuracy | majority label F1 | shuffled labels F1 |\n|---|---|---|---|---|")
    for name, summary in rows:
        cells = [_cell(summary["folds"], "macro_f1"), _cell(summary["folds"], "balanced_accuracy")]
        cells += [_cell(summary[of], "macro_f1") for of in ("majority", "shuffled")]
        click.echo(f"| {name} | {' | '.join(cells)} |")
    click.echo(f"| heart rate alone, logistic regression | {mean_interval(heart_rate_alone(out)).text} | | | |")


def _cell(summary: dict[str, Any], metric: str) -> str:
    score = summary.get(metric)
    return "" if score is None else f"{score['mean']:.3f} ±{score['half_width']:.3f}"


if __name__ == "__main__":
    main()
