"""Complete a study with what is on disk: fingerprints of segment stores, sizes and hashes of encoders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emotune.data.batches import check_shares
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.experiment import Experiment, Start
from emotune.files import sha256_of
from emotune.search.criteria import PARAMETERS
from emotune.search.space import values_of
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
        for path in encoders.values():
            check_signals(read_state(path)["about"], store=store, source=base.start.encoder)
        base = _with_encoders(base, base.start, encoders=encoders)
    rows = base.training_data(store).fold.train
    if max_workers is not None:
        check_shares(len(rows), base.batch_size, workers=max_workers, group=base.task.compared)
    study = study.model_copy(update={"base": base})
    _check_default(study)
    return study


def _check_default(study: Study) -> None:
    """Refuse a study whose first configurations violate the limit of `parameters`, which is known before training."""
    default = values_of(study.configuration_space().get_default_configuration())
    for name, values in [("the default configuration of the space", default), *(("earlier", e) for e in study.earlier)]:
        if not study.admits(values):
            limits = study.constraints[PARAMETERS].model_dump(exclude_none=True)
            limit = " and ".join(f"{end} {value:g}" for end, value in limits.items())
            raise SettingsError(
                f"constraints.{PARAMETERS}: {name} has {study.parameters(values)} trainable parameters, expected "
                f"{limit}; change its values (default_value in the space) or the limit"
            )


def check_signals(about: Mapping[str, Any], *, store: SegmentStore, source: str) -> None:
    """Refuse an encoder that was pre-trained on signals of another kind than the store's.

    Args:
        about: The description in the encoder's checkpoint.
        store: The store that the encoder is fine-tuned on.
        source: Name of the encoder, for the error message.

    Raises:
        SettingsError: Modality, sampling rate or channels differ.
    """
    present = {"modality": store.modality, "rate": store.rate, "channels": list(store.channels)}
    for name, value in present.items():
        if name in about and about[name] != value:
            before, now = (", ".join(x) if isinstance(x, list) else x for x in (about[name], value))
            raise SettingsError(
                f"the encoder {source} was pre-trained on signals with {name} {before}, but {store.path} has {now}; "
                "give a store or an encoder of the same kind"
            )


def _with_encoders(base: Experiment, start: Start, *, encoders: Encoders) -> Experiment:
    # as settings: an older version may have written one of them, without the settings that were added since
    models = {
        name: Experiment.model_validate(read_state(path)["about"]["experiment"]).model.model_dump(mode="json")
        for name, path in encoders.items()
    }
    if any(model != models["encoder"] for model in models.values()):
        raise SettingsError(
            f"the encoders {start.encoder} and {start.second} differ in size; give two encoders of the same model"
        )
    hashes = {name: sha256_of(path / "weights.safetensors") for name, path in encoders.items()}
    hashed = start.model_copy(update={"sha256": hashes["encoder"], "second_sha256": hashes.get("second")})
    content = base.model_dump(mode="json") | {"start": hashed.model_dump(mode="json"), "model": models["encoder"]}
    return Experiment.model_validate(content)
