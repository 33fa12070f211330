"""Export of an encoder or classifier: a model folder with safetensors, an ONNX file or a `torch.export` file.

An ONNX or PT2 file is a graph with any batch size. After writing, its outputs are compared with those of the network.
"""

import importlib
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from emotune.errors import SettingsError
from emotune.evaluation.encoders import PretrainedEncoder, read_network_description
from emotune.evaluation.model_card import BATCH_RULE, is_centred
from emotune.evaluation.model_folder import (
    Part,
    model_document,
    write_model_folder,
    write_weights,
)
from emotune.evaluation.networks import read_network
from emotune.evaluation.prediction import FoldClassifier, load_classifier

Format = Literal["hf", "onnx", "pt2"]

TOLERANCE = 1e-5
"""Largest difference of an exported graph's outputs from those of the network, relative to their largest value or 1."""

BATCHES = (1, 2, 5)
"""Batch sizes at which the outputs are compared."""

OPSET = 18
"""Version of the ONNX operators."""


class Classifier(nn.Module):
    """A classifier whose output is the probability that `emotune predict` prints: of the high class, or of each.

    With ``task.centre: person`` a batch has all segments of one person and lead, and their mean vector is subtracted.
    """

    def __init__(self, classifier: FoldClassifier) -> None:
        super().__init__()
        self.objective = classifier.objective
        calibration = classifier.calibration
        self.slope = 1.0 if calibration is None else calibration.slope
        self.intercept = 0.0 if calibration is None else calibration.intercept

    def forward(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch ..."]:
        """Return the probability of the high class, or of each class, of prepared segments."""
        vectors = self.objective.pooled(signals)
        if self.objective.is_centred:
            vectors = vectors - vectors.mean(dim=0, keepdim=True)
        logits = self.objective.unweighted(self.objective.classify(vectors))
        if logits.ndim == 2:
            return torch.softmax(logits, dim=1)
        return torch.sigmoid(self.slope * logits + self.intercept)


@dataclass(frozen=True)
class ExportSummary:
    """A finished export."""

    folder: Path
    part: Part
    format: Format
    files: dict[str, int]
    """Size of each file in bytes, by name."""
    difference: float
    """Largest difference of the outputs from those of the network."""
    note: str = ""
    """What a graph requires of its batches; empty: any batch has the same outputs, segment by segment."""


def export_network(source: Path, *, to: Path, format: Format, part: Part | None = None, name: str) -> ExportSummary:
    """Export the network of a checkpoint or model folder.

    Args:
        source: The checkpoint folder or model folder.
        to: Folder to write. It must not exist, or be empty.
        format: ``hf`` (safetensors), ``onnx`` or ``pt2`` (`torch.export`).
        part: The encoder or the classifier; None: the classifier if there is one.
        name: Name for the model card.

    Raises:
        SettingsError: The network has no such part, the folder is not empty, a package is missing, or the outputs of
            the graph differ from those of the network by more than `TOLERANCE`.
        DamageError: The source is damaged.
        StorageError: The disk is full or cannot be written.
    """
    description = read_network_description(source)
    is_classifier = description.classes is not None
    part = part or ("classifier" if is_classifier else "encoder")
    if part == "classifier" and not is_classifier:
        raise SettingsError(
            f"{source} was trained for task {description.experiment.task.kind!r}, expected 'classify'; "
            "give --part encoder, or fine-tune it first"
        )
    network = read_network(source, name=name)
    document = model_document(network.about, part=part, facts=network.facts)
    module = PretrainedEncoder(source) if part == "encoder" else Classifier(load_classifier(source))
    module.eval()
    differences: list[float] = []

    def write(draft: Path) -> str:
        if format == "hf":
            prefixes = ("encoder.",) if part == "encoder" else ("",)
            return write_weights(
                draft, {key: value for key, value in network.weights.items() if key.startswith(prefixes)}
            )
        shape = (len(description.channels), description.preparation.samples)
        run = WRITERS[format](module.float(), draft / f"model.{format}", shape)
        differences.append(_compare(module, run, shape=shape))
        return f"model.{format}"

    write_model_folder(to, document=document, write_model=write)
    files = {path.name: path.stat().st_size for path in sorted(to.iterdir())}
    difference = max(differences, default=0.0)
    note = BATCH_RULE if format != "hf" and is_centred(document.about) else ""
    return ExportSummary(folder=to, part=part, format=format, files=files, difference=difference, note=note)


Run = Callable[[np.ndarray], np.ndarray]
"""Returns the outputs of an exported graph."""


def _write_pt2(module: nn.Module, file: Path, shape: tuple[int, int]) -> Run:
    graph = _exported(module, shape)
    torch.export.save(graph, file)
    written = graph.module()
    return lambda signals: written(torch.from_numpy(signals)).detach().numpy()


def _write_onnx(module: nn.Module, file: Path, shape: tuple[int, int]) -> Run:
    onnxruntime, _ = (_package(name) for name in ("onnxruntime", "onnxscript"))
    graph = _exported(module, shape)
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own parts
        program = torch.onnx.export(
            graph,
            (),
            dynamo=True,
            opset_version=OPSET,
            input_names=["signals"],
            output_names=["outputs"],
            verbose=False,
        )
    assert program is not None
    program.save(str(file), external_data=False)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda signals: session.run(None, {given.name: signals})[0]


WRITERS: Mapping[str, Callable[[nn.Module, Path, tuple[int, int]], Run]] = {"onnx": _write_onnx, "pt2": _write_pt2}
"""Writer of a graph by format."""


def _exported(module: nn.Module, shape: tuple[int, int]) -> torch.export.ExportedProgram:
    """Return the graph of a module for any batch size."""
    example = torch.zeros((2, *shape))  # a batch of 1 would become a constant
    with torch.no_grad():
        # position encodings are cached: the exporter would leave tensors without values in the cache
        module(example)
        return torch.export.export(
            module, (example,), dynamic_shapes={"signals": {0: torch.export.Dim("batch", min=1, max=2**16)}}
        )


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SettingsError(f"--format onnx needs {error.name}; type pip install 'emotune[onnx]'") from error


def _compare(module: nn.Module, run: Run, *, shape: tuple[int, int]) -> float:
    """Return the largest difference of a graph's outputs from those of its module, relative to the largest or 1.

    Raises:
        SettingsError: It is larger than `TOLERANCE`.
    """
    random = np.random.default_rng(0)
    largest = 0.0
    for size in BATCHES:
        signals = random.standard_normal((size, *shape)).astype(np.float32)
        with torch.no_grad():
            expected = module(torch.from_numpy(signals)).numpy()
        scale = max(1.0, float(np.abs(expected).max()))
        largest = max(largest, float(np.abs(run(signals) - expected).max()) / scale)
    if not largest <= TOLERANCE:
        raise SettingsError(
            f"the outputs of the exported graph differ from those of the network by {largest:.1e}, expected at most "
            f"{TOLERANCE:.0e}; export another format"
        )
    return largest
