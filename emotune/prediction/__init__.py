"""What trained classifiers say of a recording that was never part of a corpus."""

from emotune.prediction.judge import Prediction, Predictor, find_predictor, predict
from emotune.prediction.picture import write_picture

__all__ = ["Prediction", "Predictor", "find_predictor", "predict", "write_picture"]
