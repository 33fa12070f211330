"""Training up to an epoch, with the training loop of the library."""

from emotune.experiment import Experiment
from emotune.training.centring import with_person_means
from emotune.training.loop import TrainingData, TrainState, train_epoch


def train_until(state: TrainState, training_data: TrainingData, experiment: Experiment, *, until: int) -> TrainState:
    """Train in place until a number of epochs is complete, and return the state."""
    training_data = with_person_means(training_data, state.objective, execution=state.execution)
    while state.epoch < until:
        assert train_epoch(state, training_data, experiment.training_plan()) is not None
    return state
