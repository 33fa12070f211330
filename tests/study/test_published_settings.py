"""What the files in search_spaces and examples try first are the published values."""

from pathlib import Path

import pytest

from emotune.data.corpora.wesad import Wesad
from emotune.documents import load_document, parse
from emotune.experiment import Experiment
from emotune.models import Transformer
from emotune.study.bundled import find_study
from emotune.study.resume import make_optimizer
from emotune.study.study import load_study
from emotune.tasks import Classify, MaskedValues

EXAMPLES = Path(__file__).parents[2] / "examples"


def first_of(name: str) -> Experiment:
    study = load_study(find_study(name))
    return study.base.with_values(dict(study.configuration_space().get_default_configuration()))


def example(name: str) -> Experiment:
    return parse(load_document(EXAMPLES / f"{name}.yaml"), Experiment)


@pytest.mark.parametrize(("modality", "rate"), [("ecg", 1e-3), ("eeg", 5e-4)])
def test_pre_training(modality: str, rate: float) -> None:
    first = first_of(f"{modality}_pretrain")
    assert (first.model, first.task, first.epochs) == (Transformer(), MaskedValues(), 500)
    optim = first.optim
    assert (optim.lr, optim.weight_decay, optim.schedule, optim.warmup_epochs) == (rate, 0.005, "linear", 30)


@pytest.mark.parametrize(("modality", "hidden", "dropout"), [("ecg", (1024, 512), 0.3), ("eeg", (64,), 0.6)])
def test_fine_tuning_and_its_cross_validation(modality: str, hidden: tuple[int, ...], dropout: float) -> None:
    first, folds = first_of(f"{modality}_finetune"), example(f"crossval_{modality}")
    optim = first.optim
    assert first.task == Classify(target="arousal", hidden=hidden, dropout=dropout)
    assert (optim.lr, optim.weight_decay, optim.warmup_epochs) == (1e-4, 1e-5, 0)
    assert (optim.schedule, optim.step_epochs, optim.step_factor) == ("step", 45, 0.65)
    assert first.start is not None
    assert first.start.encoder == f"{modality}_pretrain"
    for part in ("model", "task", "optim", "start", "batch_size"):
        assert getattr(folds, part) == getattr(first, part), part
    assert folds.epochs == load_study(find_study(f"{modality}_finetune")).budget.max == 100


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_says_what_it_is_and_how_it_is_used(path: Path) -> None:
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any("emotune " in line and path.name in line for line in comments[1:])


def test_the_configurations_of_the_reports_log_have_its_learning_rates() -> None:
    study = load_study(EXAMPLES / "report_configurations.yaml")
    optimizer = make_optimizer(study, records=[], concurrency=1)
    tried = []
    while (evaluation := optimizer.ask()) is not None:
        tried.append(study.base.with_values(evaluation.values))
        optimizer.tell(evaluation.id, 1.0)
    assert [experiment.batch_size for experiment in tried] == [64, 32]
    rates = [
        experiment.optim.learning_rate(epoch, steps_per_epoch=1, epochs=100)
        for experiment, epoch in zip(tried, (72, 54), strict=True)
    ]
    assert rates == pytest.approx([0.0002698912820721283, 0.0024396003748203415], rel=1e-9)


def test_the_example_of_three_classes_names_those_of_wesad() -> None:
    task = example("finetune_three_classes").task
    assert isinstance(task, Classify)
    assert task.classes == Wesad().conditions
