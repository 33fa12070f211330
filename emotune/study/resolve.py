"""Complete a study with what is on disk: fingerprints of segment stores, sizes and hashes of encoders."""

from pathlib import Path

from emotune.data.batches import check_shares
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.experiment import Experiment, Start
from emotune.files import sha256_of
from emotune.study.initial_encoders import Encoders
from emotune.study.study import Study
from emotune.training.checkpoints import read_state


def resolve_study(study: Study, *, store: SegmentStore, encoders: Encoders, max_workers: int | None = None) -> Study:
    """Return a study with its stores' fingerprints and its encoders' sizes and hashes.

    Args:
        study: As read from its file.
        store: The segment store.
        encoders: Checkpoints of the pre-trained encoders, if the study starts from any.
        max_workers: Most workers that share an evaluation; None: one worker, without a group.

    Raises:
        DataError: The partner store cannot be read, or the store has no labels for the task.
        SettingsError: There are too few subjects for the folds, the two encoders differ in size, or a batch has
            fewer segments than an evaluation has workers.
    """
    base = study.base.model_copy(update={"store": str(store.path.absolute()), "fingerprint": store.fingerprint})
    if base.partner:
        partner = Path(base.partner).absolute()
        update = {"partner": str(partner), "partner_fingerprint": SegmentStore.open(partner).fingerprint}
        base = base.model_copy(update=update)
    if encoders and base.start is not None:
        base = _with_encoders(base, base.start, encoders=encoders)
    rows = base.training_data(store).fold.train
    if max_workers is not None:
        check_shares(len(rows), base.batch_size, workers=max_workers)
    return study.model_copy(update={"base": base})


def _with_encoders(base: Experiment, start: Start, *, encoders: Encoders) -> Experiment:
    models = {name: read_state(path)["about"]["experiment"]["model"] for name, path in encoders.items()}
    if any(model != models["encoder"] for model in models.values()):
        raise SettingsError(
            f"the encoders {start.encoder} and {start.second} differ in size; give two encoders of the same model"
        )
    hashes = {name: sha256_of(path / "weights.safetensors") for name, path in encoders.items()}
    hashed = start.model_copy(update={"sha256": hashes["encoder"], "second_sha256": hashes.get("second")})
    content = base.model_dump(mode="json") | {"start": hashed.model_dump(mode="json"), "model": models["encoder"]}
    return Experiment.model_validate(content)
