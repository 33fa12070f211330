"""What trained classifiers say of a recording that was never part of a corpus."""

from emotune.prediction.judge import Judge, Prediction, find_judge, predict
from emotune.prediction.picture import write_picture

__all__ = ["Judge", "Prediction", "find_judge", "predict", "write_picture"]
