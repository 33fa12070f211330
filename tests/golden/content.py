"""The parts of emotune that the golden files use. Other modules of this folder import them from here."""

from emotune.cli import emotune
from emotune.cli.search import search_command
from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.search import Evaluation, Optimizer
from emotune.search.records import Opened, Record
from emotune.study.journal import read_journal
from emotune.study.resume import make_optimizer
from emotune.study.space import load_space
from emotune.study.study import Study
from emotune.tracking.mlflow import deliver_all
from emotune.tracking.mlflow_content import MlflowContent, RunUpdates
from emotune.tracking.provenance import provenance
from tests.support.training import train_until

__all__ = [
    "Evaluation",
    "Experiment",
    "MlflowContent",
    "Opened",
    "Optimizer",
    "PrepareSettings",
    "Record",
    "RunUpdates",
    "SegmentStore",
    "Study",
    "Synthetic",
    "deliver_all",
    "emotune",
    "load_space",
    "make_optimizer",
    "prepare",
    "provenance",
    "read_journal",
    "search_command",
    "train_until",
]
