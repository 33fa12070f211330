"""A package outside the repository adds a corpus, an encoder, a task and a searcher; mistakes in it are named."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from emotune import plugins
from emotune.errors import SettingsError
from emotune.models import ModelSettings
from emotune.plugins import check_plugin_name, load_plugin, load_plugin_class, plugin_entries

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"

STUDY: dict[str, Any] = {
    "base": {
        "modality": "ecg",
        "model": {"kind": "strided", "width": 8},
        "task": {"kind": "rating", "target": "valence"},
        "batch_size": 16,
        "optim": {"warmup_epochs": 0, "weight_decay": 0, "schedule": "none"},
    },
    "objective": {"metric": "val/absolute_error", "mode": "min"},
    "budget": {"min": 1, "max": 4, "eta": 2, "brackets": 1},
    "searcher": {"kind": "bohb", "model": "neighbours"},
    "space": {
        "hyperparameters": [
            {"name": "optim.lr", "type": "uniform_float", "lower": 1e-4, "upper": 0.1, "default_value": 0.01},
            {"name": "model.width", "type": "uniform_int", "lower": 4, "upper": 16, "default_value": 8},
        ]
    },
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the example package is installed, and with recordings of its corpus."""
    folder = tmp_path_factory.mktemp("installed")
    words = ["install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder / "site")]
    subprocess.run([sys.executable, "-m", "pip", *words, str(EXAMPLE)], check=True, capture_output=True)
    recordings = folder / "recordings"
    recordings.mkdir()
    random = np.random.default_rng(0)
    for subject in range(6):
        for session in (1, 2):
            phase = (np.arange(128 * 30) / 128 * (50 + 5 * subject + 30 * session) / 60) % 1
            signal = np.exp(-(((phase - 0.3) / 0.02) ** 2)) + 0.3 * np.exp(-(((phase - 0.6) / 0.06) ** 2))
            lines = [f"{value:.4f}" for value in signal + 0.02 * random.standard_normal(signal.shape)]
            rating = f"# valence {3 * session + 0.1 * subject}"
            (recordings / f"s{subject}_{session}.txt").write_text("\n".join([rating, *lines]) + "\n")
    return folder


def emotune(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from emotune.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, str(installed / "site"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=installed)


def test_an_installed_corpus_is_listed_and_prepared(installed: Path) -> None:
    listed = json.loads(emotune(installed, "data", "list", "--json").stdout)
    assert "columns" in [corpus["name"] for corpus in listed]
    words = ("data", "prepare", "columns", "recordings", "--store", "store", "--seconds", "5", "--set", "rate=128")
    done = emotune(installed, *words)
    assert done.returncode == 0, done.stderr
    assert "72 segments of 12 recordings" in done.stdout + done.stderr


def test_installed_encoder_task_and_searcher_are_used_by_a_study(installed: Path) -> None:
    emotune(installed, "data", "prepare", "columns", "recordings", "--store", "store2", "--seconds", "5")
    (installed / "ours.yaml").write_text(yaml.safe_dump(STUDY))
    done = emotune(installed, "search", "ours.yaml", "--store", "store2", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "one epoch of the base experiment takes" in done.stdout
    mistaken = STUDY | {"searcher": {"kind": "bohb", "model": "neighbors"}}
    (installed / "mistaken.yaml").write_text(yaml.safe_dump(mistaken))
    refused = emotune(installed, "search", "mistaken.yaml", "--store", "store2", "--dry-run")
    assert refused.returncode == 2
    assert "Did you mean 'neighbours'?" in refused.stderr


PROPOSES = """
import sys
sys.path.insert(0, sys.argv[1])
from ConfigSpace import ConfigurationSpace, Float
from emotune.search.optimizer import Optimizer

space = ConfigurationSpace()
space.add(Float("lr", (0.0, 1.0)))
optimizer = Optimizer(space, max_budget=9, model="neighbours", brackets=2)
while (evaluation := optimizer.ask()) is not None:
    print(evaluation.origin)
    optimizer.tell(evaluation.id, abs(evaluation.values["lr"] - 0.3))
"""


def test_an_installed_searcher_proposes_configurations(installed: Path) -> None:
    command = [sys.executable, "-c", PROPOSES, str(installed / "site")]
    origins = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert origins.count("model") > 3
    assert "promotion" in origins


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """The entry points of all packages, a list that the test fills."""
    found: list[EntryPoint] = []
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry for entry in found if entry.group == group])
    plugin_entries.cache_clear()
    yield found
    plugin_entries.cache_clear()


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group="emotune.models")


def test_two_packages_with_one_name_are_refused(entries: list[EntryPoint]) -> None:
    entries += [entry("ours", "json:loads"), entry("ours", "json:dumps")]
    with pytest.raises(SettingsError, match=r"'ours' of emotune.models is defined twice, by json:loads and json:dumps"):
        plugin_entries("emotune.models")


def test_a_plugin_that_cannot_be_imported_is_named(entries: list[EntryPoint]) -> None:
    entries.append(entry("ours", "no_such_module_here:Model"))
    with pytest.raises(
        SettingsError, match=r"plug-in 'ours' of no_such_module_here:Model cannot be imported: .*module"
    ):
        load_plugin_class("emotune.models", "ours", base=ModelSettings)


@pytest.mark.parametrize(("value", "expected"), [("json:loads", "object of type"), ("json:JSONDecoder", "subclass of")])
def test_a_plugin_of_another_type_is_refused(entries: list[EntryPoint], value: str, expected: str) -> None:
    entries.append(entry("ours", value))
    with pytest.raises(SettingsError, match=rf"is {value}, which is not an? {expected}"):
        load_plugin_class("emotune.models", "ours", base=ModelSettings)


def test_the_name_of_a_plugin_is_its_own_and_free(entries: list[EntryPoint]) -> None:
    entries += [entry("ours", "json:loads"), entry("transformer", "json:loads")]
    assert callable(load_plugin("emotune.models", "ours", kind=object))
    check_plugin_name("emotune.models", "ours", own="ours", taken=["transformer"])
    with pytest.raises(SettingsError, match="calls itself 'theirs'; give both the same name"):
        check_plugin_name("emotune.models", "ours", own="theirs", taken=[])
    with pytest.raises(SettingsError, match="'transformer' of json:loads has the name of a part of emotune"):
        check_plugin_name("emotune.models", "transformer", own="transformer", taken=["transformer"])
