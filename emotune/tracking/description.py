"""Descriptions of experiments and runs for MLflow's pages: Markdown, data and source, from the journal."""

import getpass
import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from emotune.search.records import Evaluation, Opened, Value

COMMANDS = {"configuration": "search", "pretrain": "pretrain", "finetune": "finetune", "fold": "crossval"}
"""Command that writes a journal, by its purpose."""

TITLES = {
    "configuration": "Search",
    "pretrain": "Pre-training",
    "finetune": "Fine-tuning",
    "fold": "Cross-validation",
}
"""What a journal is of, by its purpose."""

NOTE_TAG = "mlflow.note.content"
"""Tag of a run or an experiment with its description (Markdown)."""

DIGEST_DIGITS = 16
"""Number of hexadecimal digits of a dataset's digest; MLflow takes at most 36 characters."""

Context = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Sender:
    """What a description says about the place of a journal."""

    user: str = ""
    """Name of the account that sends the journal."""
    folder: str = ""
    """Folder or URL of the search."""


NO_SENDER = Sender()
"""Neither account nor folder are named."""


@dataclass(frozen=True)
class DatasetUse:
    """A segment store, and what a run uses its segments for."""

    name: str
    digest: str
    """The first digits of the store's fingerprint; for a fold of several, of its hash with the number of the fold."""
    context: Context
    path: str
    profile: Mapping[str, Any]
    """Fingerprint, and the settings that divide the segments."""


def search_id(opened: Opened) -> str:
    """Return the identity of a search: a hash of name, study and start time (16 hexadecimal digits)."""
    return hashlib.sha256(f"{opened.name} {opened.digest} {opened.time!r}".encode()).hexdigest()[:16]


def account_name() -> str:
    """Return the name of the account that runs this process; empty if it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def source_tags(opened: Opened, *, sender: Sender, commit: str | None) -> dict[str, str]:
    """Return the tags from which MLflow shows source, version and user of a run."""
    tags = {"mlflow.source.name": f"emotune {COMMANDS[opened.purpose]}", "mlflow.source.type": "LOCAL"}
    if commit:
        tags["mlflow.source.git.commit"] = commit
    if sender.user:
        tags["mlflow.user"] = sender.user
    return tags


def dataset_uses(opened: Opened, *, values: Mapping[str, Value] | None = None) -> tuple[DatasetUse, ...]:
    """Return the segment stores of a run with the contexts in which they are used.

    Args:
        opened: First record of the journal.
        values: Values of the configuration; those of ``folds`` replace the settings of the study.
    """
    base = opened.study.get("base", {})
    prefix = "folds."
    searched = {name.removeprefix(prefix): value for name, value in (values or {}).items() if name.startswith(prefix)}
    folds = {**base.get("folds", {}), **searched}
    contexts: list[Context] = ["train"]
    if folds.get("validation"):
        contexts.append("validation")
    if (
        opened.purpose in ("finetune", "fold")
        and folds.get("index") is not None
        and not (opened.purpose == "fold" and values is None)
    ):
        contexts.append("test")
    stores = [("store", "fingerprint"), ("partner", "partner_fingerprint")]
    return tuple(
        _use(str(base[path]), fingerprint=str(base[fingerprint]), context=context, folds=folds, searched=searched)
        for path, fingerprint in stores
        for context in contexts
        if base.get(path) and base.get(fingerprint)
    )


def _use(
    path: str, *, fingerprint: str, context: Context, folds: Mapping[str, Any], searched: Mapping[str, Value]
) -> DatasetUse:
    """Return a use of a store. In an experiment, MLflow keeps one dataset per name and digest."""
    fold = f"-fold{searched['index']}" if "index" in searched else ""
    return DatasetUse(
        name=f"{PurePath(path).name}{fold}-{context}",
        digest=fingerprint[:DIGEST_DIGITS],
        context=context,
        path=path,
        profile={"fingerprint": fingerprint, "folds": dict(folds)},
    )


def describe_experiment(opened: Opened, *, sender: Sender) -> str:
    """Return the description of an experiment (Markdown)."""
    best = "; the run tagged `emotune.best` is the best so far" if opened.purpose == "configuration" else ""
    return "\n\n".join(
        [
            f"**{TITLES[opened.purpose]} `{opened.name}`**: {_objective(opened)}{best}.",
            *_facts(opened, sender=sender),
        ]
    )


def describe_summary(opened: Opened, *, sender: Sender) -> str:
    """Return the description of the run that summarises a journal (Markdown)."""
    if opened.purpose in ("pretrain", "finetune"):
        return describe_experiment(opened, sender=sender)
    contents = {
        "configuration": "The study, the best result over all trained epochs, and the weights of the rungs",
        "fold": "The settings, and the means over the folds with their intervals",
    }[opened.purpose]
    kind = {"configuration": "search", "fold": "cross-validation"}[opened.purpose]
    return "\n\n".join([f"**Summary of the {kind} `{opened.name}`**. {contents}.", *_facts(opened, sender=sender)])


def describe_configuration(opened: Opened, evaluation: Evaluation, *, sender: Sender) -> str:
    """Return the description of a configuration's run (Markdown)."""
    if opened.purpose == "fold":
        labels = ", with shuffled labels" if evaluation.values.get("task.shuffled") else ""
        title = f"**Fold {evaluation.values.get('folds.index')}{labels}** of the cross-validation `{opened.name}`"
    else:
        origins = {
            "default": "the default of the space",
            "random": "drawn at random",
            "prior": "a variation of the defaults, or an earlier configuration",
            "model": "proposed by the model",
        }
        values = origins.get(evaluation.origin, evaluation.origin)
        title = f"**Configuration {evaluation.config_id}** of the search `{opened.name}`. Its values: {values}"
    return "\n\n".join([f"{title}.", *_facts(opened, sender=sender)])


def _facts(opened: Opened, *, sender: Sender) -> list[str]:
    """Return what is trained on which data, and the commands that print more."""
    base = opened.study.get("base", {})
    task, model = base.get("task", {}).get("kind", "unknown"), base.get("model", {}).get("kind", "unknown")
    data = f" on the segment store `{base['store']}`" if base.get("store") else ""
    if base.get("fingerprint"):
        data += f" (fingerprint `{base['fingerprint'][:DIGEST_DIGITS]}`)"
    name = shlex.quote(opened.name)
    commands = [f"- Results in the terminal: `emotune status {name}`"]
    report = f", in `{sender.folder}/report.html`" if sender.folder else ""
    commands.append(f"- Report: `emotune report {name}`{report}")
    if opened.purpose == "configuration":
        commands.append(f"- The best configuration as an experiment: `emotune best {name} --out best.yaml`")
    return [
        f"Task `{task}`, model `{model}`{data}. Study `{opened.digest}`, seed {opened.seed}. "
        f"Written by `emotune {COMMANDS[opened.purpose]}`.",
        "\n".join(commands),
    ]


def _objective(opened: Opened) -> str:
    objective = opened.study.get("objective", {})
    if opened.purpose == "fold":
        return "scores of the test segments of each fold"
    verb = {"min": "minimised", "max": "maximised"}.get(objective.get("mode", ""), "measured")
    return f"{objective.get('metric')} is {verb}"
