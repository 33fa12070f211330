"""The model card of a network: data, licences, scores with intervals, and limits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from emotune.base import Settings
from emotune.data.corpora.table import CORPORA
from emotune.data.modality import MODALITIES
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.errors import DataError

NOT_SCORES = ("_half_width", "/subjects", "/epoch")
"""Endings of the metrics that are no scores."""

UNKNOWN_LICENCE = "not known; ask the owner of the recordings"


class CorpusFacts(Settings):
    """A corpus that a network was trained on."""

    name: str
    licence: str
    where: str = ""
    """Where to get it."""
    subjects: int | None = None
    recordings: int | None = None
    hours: float | None = None
    """None: the store is not on this machine."""


class Score(Settings):
    """A score of a network."""

    name: str
    value: float
    half_width: float | None = None
    """Half width of the 95 % interval over subjects; None: there is none."""


class CardFacts(Settings):
    """What a model card states beyond the network's settings."""

    name: str
    """Name of the search or folder that the network is from."""
    task: str
    """Task that it was trained for."""
    epochs: int
    corpora: tuple[CorpusFacts, ...]
    scores: tuple[Score, ...]


def facts_of_checkpoint(state: Mapping[str, Any], *, name: str) -> CardFacts:
    """Return the facts that a checkpoint has.

    Args:
        state: Content of its ``state.json``.
        name: Name for the card.
    """
    about, history = state["about"], state.get("history") or []
    return CardFacts(
        name=name,
        task=about["experiment"].get("task", {}).get("kind", "not known"),
        epochs=int(state.get("epoch", 0)),
        corpora=_corpora(about),
        scores=_scores(history[-1].get("metrics", {}) if history else {}),
    )


def _corpora(about: Mapping[str, Any]) -> tuple[CorpusFacts, ...]:
    """Return the corpora of the training, with their sizes if the store is on this machine."""
    try:
        sources = {
            source.corpus: source for source in SegmentStore.open(Path(about["experiment"]["store"])).about.sources
        }
    except (DataError, OSError, KeyError, TypeError):
        sources = {}
    facts: list[CorpusFacts] = []
    for name in about.get("corpora", ()):
        reader, source = CORPORA.get(name), sources.get(name)
        facts.append(
            CorpusFacts(
                name=name,
                licence=UNKNOWN_LICENCE if reader is None else reader.licence,
                where="" if reader is None else reader.where,
                subjects=None if source is None else source.subjects,
                recordings=None if source is None else source.recordings,
                hours=None if source is None else round(source.hours, 2),
            )
        )
    return tuple(facts)


def _scores(metrics: Mapping[str, Any]) -> tuple[Score, ...]:
    """Return the scores on held-out segments: of the kept epoch if there is one, otherwise of the last one."""
    prefixes = ("test/", "kept/") if "kept/epoch" in metrics else ("val/", "test/")
    return tuple(
        Score(name=name, value=value, half_width=metrics.get(f"{name}_half_width"))
        for name, value in sorted(metrics.items())
        if name.startswith(prefixes) and value is not None and not name.endswith(NOT_SCORES)
    )


def render_card(facts: CardFacts, *, about: Mapping[str, Any], part: str, model: str) -> str:
    """Return a model card in Markdown, with the metadata of the Hugging Face Hub.

    Args:
        facts: Facts about the training.
        about: Description of the network.
        part: ``encoder`` or ``classifier``.
        model: Name of the file with the network.
    """
    metadata = {
        "library_name": "emotune",
        "license": "other",
        "pipeline_tag": "feature-extraction" if part == "encoder" else "other",
        "tags": ["emotune", "physiological-signals", about["modality"], "self-supervised-learning"],
    }
    sections = [
        f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---",
        f"# {facts.name}",
        _introduction(facts, about=about, part=part),
        "## Input\n\n" + _input(about),
        "## Use\n\n" + _usage(part, model=model) + _batch_rule(about),
        "## Training data\n\n" + _data_table(facts),
        "## Scores\n\n" + _score_table(facts),
        "## Limits\n\n" + LIMITS,
    ]
    return "\n\n".join(sections) + "\n"


def _introduction(facts: CardFacts, *, about: Mapping[str, Any], part: str) -> str:
    label = MODALITIES[about["modality"]].label
    kind = about["experiment"]["model"].get("kind", "transformer")
    what = "An encoder" if part == "encoder" else "A classifier"
    return (
        f"{what} of {label} segments ({kind}), trained for {facts.epochs} epochs on the task `{facts.task}` with "
        "[emotune](https://pypi.org/project/emotune/)."
    )


def _input(about: Mapping[str, Any]) -> str:
    preparation = PrepareSettings.model_validate(about["preparation"])
    over = "all recordings of a person" if preparation.normalise == "subject" else "each segment"
    spec = MODALITIES[about["modality"]]
    return (
        f"An array (batch, {len(about['channels'])}, {preparation.samples}) of float32: {preparation.seconds:g} s at "
        f"{preparation.rate} Hz of {', '.join(about['channels'])}. Recordings in {spec.unit} are "
        f"{preparation.filter_text}, resampled, and standardised: "
        f"each channel has zero mean and unit variance over {over}. `preprocessor_config.json` has these settings."
    )


def _usage(part: str, *, model: str) -> str:
    if model == "model.safetensors" and part == "encoder":
        code = 'import emotune\n\nencoder = emotune.load_encoder("FOLDER")\nembeddings = encoder.embed(signal, fs)'
    elif model == "model.safetensors":
        return "```\nemotune predict FOLDER recording.edf\n```"
    elif model.endswith(".onnx"):
        code = (
            'import onnxruntime\n\nsession = onnxruntime.InferenceSession("FOLDER/model.onnx")\n'
            '(outputs,) = session.run(None, {"signals": segments})'
        )
    else:
        code = 'import torch\n\nmodule = torch.export.load("FOLDER/model.pt2").module()\noutputs = module(segments)'
    return f"```python\n{code}\n```"


BATCH_RULE = (
    "A batch must have all segments of one person and one ECG lead: the mean of the batch's vectors is subtracted "
    "(task.centre: person)"
)
"""What the batches of a graph must have, if its task subtracts the mean of a person."""


def is_centred(about: Mapping[str, Any]) -> bool:
    """Return whether a network is a classifier that subtracts the mean of a person, from its description."""
    return about["experiment"].get("task", {}).get("centre", "none") == "person"


def _batch_rule(about: Mapping[str, Any]) -> str:
    if not is_centred(about):
        return ""
    return (
        f"\n\n{BATCH_RULE}. The probability of a segment therefore depends on the other segments of the person, among "
        "which all classes must occur. A segment alone has the same probability whatever its signal. `emotune predict` "
        "subtracts the mean over the recording."
    )


def _data_table(facts: CardFacts) -> str:
    rows = [
        f"| {corpus.name} | {_or_dash(corpus.subjects)} | {_or_dash(corpus.recordings)} | {_or_dash(corpus.hours)} | "
        f"{corpus.licence} | {corpus.where or '-'} |"
        for corpus in facts.corpora
    ]
    header = "| corpus | people | recordings | hours | licence | source |\n|---|---|---|---|---|---|"
    return "\n".join([header, *rows]) + "\n\nThe licences of the data apply to what may be done with the network."


def _score_table(facts: CardFacts) -> str:
    rows = [
        f"| {score.name} | {score.value:.4f} | {'-' if score.half_width is None else f'±{score.half_width:.4f}'} |"
        for score in facts.scores
    ]
    header = "| score | value | 95 % interval |\n|---|---|---|"
    text = "\n".join([header, *rows]) if rows else "None: the run had no held-out segments."
    return (
        f"{text}\n\n`val/` and `kept/` are validation segments, which were used to choose the configuration or the "
        "epoch; `test/` are test segments of the experiment's fold. Intervals are over test subjects; a dash means "
        "that there is none, so that the scores of other people may differ by any amount."
    )


def _or_dash(value: int | float | None) -> str:
    return "-" if value is None else f"{value:g}"


LIMITS = """- **Not a medical device.** It must not be used to diagnose, treat or monitor a person.
- It was trained on the people, devices and electrode positions of the corpora above. Scores on others are not known.
- Emotions are ratings or conditions of these corpora. A probability
  says how people of the training were labelled, not what a person feels.
- Recordings with artefacts give outputs as well. Check the signals first."""
"""The last section of a card."""
