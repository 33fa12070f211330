"""A scikit-learn model, trained by a function: one pass over the training data per epoch.

python digits.py                                  # the search
emotune search digits.yaml --name digits-study    # the same search, from a study file
"""

import pickle
from pathlib import Path

from ConfigSpace import Categorical, ConfigurationSpace, Float
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import emotune


def train(config: dict, epochs: int, checkpoint: Path) -> dict[str, float]:
    """Train one epoch, from the state in the folder `checkpoint` up to `epochs` epochs in all."""
    images, labels = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(images / 16, labels, test_size=0.3, random_state=0)
    file = checkpoint / "model.pkl"
    if file.exists():
        model = pickle.loads(file.read_bytes())
    else:
        model = SGDClassifier(
            loss=config["loss"],
            alpha=config["alpha"],
            learning_rate="constant",
            eta0=config["rate"],
            random_state=0,
        )
    model.partial_fit(x, y, classes=range(10))
    file.write_bytes(pickle.dumps(model))
    return {"accuracy": model.score(x_val, y_val), "train_accuracy": model.score(x, y)}


space = ConfigurationSpace()
space.add(
    Categorical("loss", ["hinge", "log_loss", "modified_huber"]),
    Float("alpha", (1e-6, 1e-1), log=True),
    Float("rate", (1e-4, 1.0), log=True),
)

if __name__ == "__main__":
    result = emotune.search(
        train,
        space=space,
        budget=emotune.Budget(1, 9, eta=3, brackets=1),
        metric="accuracy",
        mode="max",
        name="digits",
        concurrency=2,
    )
    print(result.best.values, result.best.objective)
    print(result.report())
