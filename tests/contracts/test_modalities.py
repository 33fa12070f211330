"""Contract of every entry of the table of modalities."""

import ast
from pathlib import Path

import numpy as np
import pytest

import emotune
from emotune.data.corpora.table import CORPORA
from emotune.data.modality import DEFAULT_MODALITY, MODALITIES, ModalitySpec, modality_of_channel
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.recording import Recording
from emotune.errors import DataError

PACKAGE = Path(emotune.__file__).parent
NAMES = sorted(MODALITIES)


@pytest.fixture(params=NAMES)
def modality(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def spec(modality: str) -> ModalitySpec:
    return MODALITIES[modality]


def test_the_default_modality_is_in_the_table() -> None:
    assert DEFAULT_MODALITY in MODALITIES


def test_a_reader_has_it(modality: str) -> None:
    assert any(modality in reader.modalities for reader in CORPORA.values())


def test_readers_have_only_modalities_of_the_table() -> None:
    assert {modality for reader in CORPORA.values() for modality in reader.modalities} <= set(MODALITIES)


def test_its_preparation_defaults_are_valid_settings(modality: str, spec: ModalitySpec) -> None:
    settings = PrepareSettings(modality=modality)
    assert (settings.band, settings.order, settings.rate, settings.seconds) == (
        spec.band,
        spec.order,
        spec.rate,
        spec.seconds,
    )
    assert PrepareSettings.model_validate_json(settings.model_dump_json()) == settings


def test_its_channels_have_names_of_that_modality(modality: str, spec: ModalitySpec) -> None:
    assert {modality_of_channel(name) for name in spec.channels} <= {modality}
    assert modality_of_channel("a name of no channel") is None


def test_its_unit_and_base_unit_have_a_factor(spec: ModalitySpec) -> None:
    assert spec.factor_from(spec.unit) == 1
    assert spec.factor_from(spec.base_unit) == spec.per_base_unit
    assert spec.factor_from("adu") is None


def test_a_signal_in_the_base_unit_is_refused_with_the_factor(modality: str, spec: ModalitySpec) -> None:
    signal = np.random.default_rng(0).normal(0, np.sqrt(np.prod(spec.plausible_spread)), (1, 256))
    common = {"fs": 128.0, "modality": modality, "subject": "a", "session": "b", "channels": ("c",)}
    Recording(signal=signal, **common)._check_spread()
    in_base_unit = Recording(signal=signal / spec.per_base_unit, **common)
    with pytest.raises(DataError, match=f"Signals in {spec.base_unit} need a factor of {spec.per_base_unit:,.0f}"):
        in_base_unit.check()


def test_its_plot_layout_has_space_for_every_example(spec: ModalitySpec) -> None:
    assert spec.plot.examples % spec.plot.columns == 0
    assert spec.plot.height > 0


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_module_compares_the_name_of_a_modality(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        operands = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        patterns = [node.value] if isinstance(node, ast.MatchValue) else []
        texts = {
            text.value
            for operand in (*operands, *patterns)
            for text in ast.walk(operand)
            if isinstance(text, ast.Constant) and isinstance(text.value, str)
        }
        assert not texts & set(MODALITIES), f"line {node.lineno}: read a field of MODALITIES instead"  # type: ignore[attr-defined]
