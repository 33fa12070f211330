"""The estimate of ``--dry-run`` counts what an evaluation computes besides its epochs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emotune.data.store import SegmentStore
from emotune.study import estimate
from emotune.study.bundled import find_study
from emotune.study.preview import preview
from emotune.study.study import Study, load_study
from emotune.tasks.centring import person_numbers, segments_of_people
from emotune.training.loop import TrainingData

SECONDS_PER_SEGMENT = 0.25
"""Duration of a segment in the pass for the means of people, on the clock of the test."""


def study_of(*, centre: str) -> Study:
    settings = [
        f"base.task={{kind: classify, hidden: [8], frozen: true, centre: {centre}}}",
        "objective={metric: val/macro_f1, mode: max}",
        "space.hyperparameters=[{name: optim.lr, type: uniform_float, lower: 1.0e-5, upper: 1.0e-3, log: true}]",
    ]
    return load_study(find_study("smoke"), assignments=settings)


@pytest.mark.parametrize("centre", ["none", "person"])
def test_each_evaluation_has_one_pass_for_the_means_of_people(
    centre: str, small_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    compute = estimate.with_person_means

    def compute_slowly(data: TrainingData, *args: Any, **options: Any) -> TrainingData:
        nonlocal clock
        clock += SECONDS_PER_SEGMENT * len(segments_of_people(person_numbers(data.store.index), rows=options["rows"]))
        return compute(data, *args, **options)

    monkeypatch.setattr(estimate, "with_person_means", compute_slowly)
    monkeypatch.setattr(estimate, "time", SimpleNamespace(monotonic=lambda: clock))
    study = study_of(centre=centre)
    evaluations = preview(study)
    epochs = sum(evaluation.to_epoch - evaluation.from_epoch for evaluation in evaluations)
    store = SegmentStore.open(small_store)
    seconds = estimate.probe_seconds(study, store=store)
    passes = len(evaluations) if centre == "person" else 0
    rows = study.base.training_data(store).fold.rows
    segments = len(segments_of_people(person_numbers(store.index), rows=rows))
    assert seconds * epochs == pytest.approx(passes * segments * SECONDS_PER_SEGMENT)
