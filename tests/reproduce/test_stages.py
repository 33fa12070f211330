"""Cells, stages and costs of the papers' tables, without running them."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from emotune.cli import emotune
from emotune.errors import SettingsError
from emotune.evaluation.crossval import METRICS, CrossValidation, FoldResult, cross_validation_study
from emotune.reproduce.published import TABLES, find_table
from emotune.reproduce.recipes import FULL, SCALES, SMOKE, Scale
from emotune.reproduce.render import as_latex, as_markdown, difference_frame, frame_of, paper_number
from emotune.reproduce.stages import Stage, cells_of, cost_of, execution_order, pretext_stage

NOWHERE = Path("/nowhere")
SIZES = {
    "ecg-table-1": (16, 22),
    "ecg-table-2": (4, 6),
    "ecg-table-3": (4, 8),
    "multimodal-table-1": (4, 6),
    "multimodal-table-2": (6, 10),
    "multimodal-table-3": (4, 16),
    "multimodal-table-4": (4, 10),
    "pretext": (0, 1),
}


def stages_of(name: str, scale: Scale = FULL) -> list[Stage]:
    cells = cells_of(find_table(name), scale=scale, stores=NOWHERE)
    return execution_order([cell.stage for cell in cells] or [pretext_stage(scale=scale, stores=NOWHERE)])


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(emotune, ["reproduce", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("scale", SCALES.values(), ids=lambda scale: scale.name)
@pytest.mark.parametrize("name", TABLES)
def test_every_cell_has_its_runs_and_names_of_runs_are_unique(name: str, scale: Scale) -> None:
    stages = stages_of(name, scale)
    assert (len(cells_of(find_table(name), scale=scale, stores=NOWHERE)), len(stages)) == SIZES[name]
    names = [stage.name for stage in stages]
    assert len(set(names)) == len(names)
    done: set[str] = set()
    for stage in stages:
        assert {before.name for before in stage.requires} <= done
        done.add(stage.name)


def test_tables_share_equal_runs() -> None:
    best = {stage.name for stage in stages_of("ecg-table-2")}
    assert len(best & {stage.name for stage in stages_of("ecg-table-1")}) == 4
    fused = {stage.name for stage in stages_of("multimodal-table-2")}
    assert {stage.name for stage in stages_of("multimodal-table-4")} == fused
    assert not {stage.name for stage in stages_of("ecg-table-2", SMOKE)} & best


def test_the_experiments_are_the_published_ones() -> None:
    ecg, eeg = (
        next(stage for stage in stages_of(name) if stage.kind == "pretraining").experiment
        for name in ("ecg-table-2", "multimodal-table-1")
    )
    assert (ecg.epochs, ecg.optim.lr, ecg.optim.warmup_epochs, ecg.optim.weight_decay) == (500, 1e-3, 30, 0.005)
    assert (eeg.epochs, eeg.optim.lr) == (500, 5e-4)
    fused = next(stage for stage in stages_of("multimodal-table-2") if stage.kind == "fusion").experiment
    assert fused.model.model_dump() == {"kind": "features", "fold": 0, "width": 576}
    assert (fused.epochs, fused.optim.lr, fused.optim.step_epochs, fused.optim.step_factor) == (52, 1e-5, 20, 0.65)
    tuned = next(stage for stage in stages_of("ecg-table-2") if stage.kind == "folds").experiment
    assert (tuned.epochs, tuned.optim.lr, tuned.optim.step_epochs, tuned.optim.weight_decay) == (100, 1e-4, 45, 1e-5)
    assert tuned.folds.channels == ("ECG Left",)


@pytest.mark.parametrize("name", [name for name in TABLES if name != "pretext"])
def test_neither_encoder_is_pretrained_on_its_test_half(name: str) -> None:
    for stage in stages_of(name):
        if stage.kind != "folds" or not stage.requires:
            continue
        base = cross_validation_study(stage.experiment, protocol="paper", folds=FULL.folds).base
        halves = [before.experiment.folds for before in stage.requires]
        assert [folds.without.half for folds in halves if folds.without] == ["first", "second"]
        for folds in halves:
            assert (folds.count, folds.seed, folds.index) == (base.folds.count, base.folds.seed, None)


def test_the_cost_of_the_pre_training_follows_from_its_operations() -> None:
    stage = next(stage for stage in stages_of("ecg-table-2") if stage.kind == "pretraining")
    cost = cost_of(stage, scale=FULL)
    assert (cost.runs, cost.epochs, cost.segments) == (1, 500, 83_401)
    assert cost.operations == pytest.approx(28.6e9 * 83_401 * 500, rel=0.02)
    assert cost.gpu_hours == pytest.approx(1.07, rel=0.02)


def invented_results(table: str) -> dict:
    results = {}
    for cell in cells_of(find_table(table), scale=FULL, stores=NOWHERE):
        folds = tuple(
            FoldResult(fold=n, config_id=n, metrics=dict.fromkeys(METRICS, 0.6 + 0.01 * n)) for n in range(10)
        )
        content = {"name": "x", "protocol": "paper", "target": cell.target, "count": 10, "folds": folds}
        results[cell.row.name, cell.target] = CrossValidation.model_validate(content | {"majority": folds})
    return results


def test_a_table_with_published_numbers_is_written_as_frame_markdown_and_latex() -> None:
    table = find_table("multimodal-table-4")
    frame = frame_of(table, invented_results(table.name))
    assert frame[""].tolist()[:2] == ["EEG baseline", "EEG + ECG + GSR baseline"]
    fused = frame[frame[""] == "ECG and EEG, fused, pre-trained"].iloc[0]
    assert fused["arousal accuracy"] == ".64 ± 2.2e-2"
    assert fused["arousal accuracy, published"] == ".89 ± 5.0e-3"
    baseline = frame.iloc[0]
    assert (baseline["arousal accuracy"], baseline["arousal F1, published"]) == ("", ".577")
    page = as_markdown(frame, title=table.title, notes=["a note"])
    assert page.count("\n| ") == len(frame) + 2
    latex = as_latex(frame, title=table.title)
    assert r".64 $\pm$ 2.2e-2" in latex
    assert latex.count(r"\\") == len(frame) + 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((0.88, 5.4e-3), ".88 ± 5.4e-3"),
        ((0.85, 0.013), ".85 ± 1.3e-2"),
        ((0.81, 0.0107), ".81 ± 10.7e-3"),
        ((0.6449, 0.02174), ".64 ± 2.2e-2"),
        ((-0.02, 0.125), "-.02 ± 1.2e-1"),
        ((1.0, 0.0), "1.00 ± 0"),
        ((0.551,), ".551"),
        ((0.81,), ".81"),
    ],
)
def test_numbers_are_printed_as_in_the_papers(value: tuple[float, ...], text: str) -> None:
    assert paper_number(*value) == text


def test_tables_have_the_columns_of_the_papers() -> None:
    frame = frame_of(find_table("ecg-table-3"), {})
    assert list(frame.columns[:3]) == ["", "Subj. ind.", "segment size"]
    assert frame.iloc[0].tolist()[:3] == ["Gaussian naive Bayes", "yes", "20 s"]
    assert frame.iloc[1].tolist()[:3] == ["1D-CNN", "no", "200 peaks"]
    sizes = frame_of(find_table("ecg-table-1"), {})["segment size"].tolist()
    assert sizes == ["10 s"] * 5 + ["40 s", "20 s", "10 s"]
    assert "segment size" not in frame_of(find_table("multimodal-table-2"), {})


def test_p_values_stand_beside_the_published_ones() -> None:
    table = find_table("multimodal-table-2")
    results = invented_results(table.name)
    values = {"EEG": 0.5, "ECG": 0.6, "ECG and EEG, fused": 0.61}
    random = np.random.default_rng(0)
    for (row, target), result in results.items():
        folds = tuple(
            FoldResult(
                fold=n, config_id=n, metrics=dict.fromkeys(METRICS, values[row] + 0.02 * random.standard_normal())
            )
            for n in range(10)
        )
        results[row, target] = result.model_copy(update={"folds": folds})
    fused = frame_of(table, results).to_dict("records")[2]
    tests = difference_frame(table, results)
    expected = results["EEG", "valence"].compare(results["ECG and EEG, fused", "valence"], metric="macro_f1").p
    assert expected is not None
    assert f"valence {expected:.1e} (against EEG); arousal" in fused["p"]
    assert fused["p, published"] == "< 1e-3"
    assert len(tests) == 8
    assert set(tests["p, published"]) == {"", "< 1e-3"}
    assert {(row["column"], row["p"]) for row in tests.to_dict("records")} >= {("valence F1", f"{expected:.1e}")}
    page = as_markdown(frame_of(table, results), title=table.title, notes=[], tests=tests)
    assert "| ECG and EEG, fused - ECG | arousal F1 |" in page


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    stores, results = str(tmp_path / "stores"), str(tmp_path / "results")
    options = ("--stores", stores, "--storage", results, "--dry-run")
    text = run("ecg-table-1", *options).stdout
    assert "16 cells, 22 runs, 35000 epochs" in text
    document = json.loads(run("multimodal-table-2", *options, "--json").stdout)
    assert (len(document["cells"]), len(document["runs"])) == (6, 10)
    assert list(tmp_path.iterdir()) == []


def test_missing_tables_and_stores_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no table 'ecg-table-9'; there are: ecg-table-1"):
        run("ecg-table-9")
    with pytest.raises(
        SettingsError, match=r"no store .*amigos-ecg-10s, .*pool-ecg-10s; create them from the raw corpora with --raw"
    ):
        run("ecg-table-2", "--stores", str(tmp_path))
