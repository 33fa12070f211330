"""A synthetic search of one bracket, in which the ranks at the two rungs agree except for one pair."""

import pytest

from emotune.search.records import Closed, Ended, EpochDone, Evaluation, Opened, Record, Started

NASTY = "<script>alert('x')</script>"


class Journal:
    """Builds the records of evaluations that run one after the other."""

    def __init__(self, *, mode: str = "min") -> None:
        study = {
            "objective": {"metric": "val/loss", "mode": mode},
            "budget": {"min": 1, "max": 2, "eta": 2},
            "searcher": {"kind": "asha"},
        }
        self.records: list[Record] = [
            Opened(
                time=0.0,
                name=NASTY,
                study=study,
                digest="abc",
                seed=7,
                concurrency=1,
                software={"torch": "2.10"},
            )
        ]
        self.number = 0

    def evaluate(self, config: int, *, losses: list[float | None], start: int = 0, error: str | None = None) -> None:
        """Train a configuration for as many epochs as there are losses."""
        time = float(len(self.records))
        evaluation = Evaluation(
            id=self.number,
            config_id=config,
            bracket=0,
            rung=int(start > 0),
            from_epoch=start,
            to_epoch=start + len(losses),
            values={"optim.lr": 10.0 ** -(config + 1), "task.kind": NASTY, "model.layers": config % 3 + 1},
            origin="promotion" if start else "random",
        )
        self.records.append(Started(time=time, evaluation=evaluation))
        for epoch, loss in enumerate(losses, start + 1):
            self.records.append(
                EpochDone(
                    time=time,
                    evaluation_id=self.number,
                    config_id=config,
                    epoch=epoch,
                    metrics={"val/loss": loss, "test/f1": 0.5 + epoch / 100},
                )
            )
        self.records.append(
            Ended(
                time=time,
                evaluation_id=self.number,
                config_id=config,
                status="done" if error is None else "failed",
                objective=losses[-1] if error is None else None,
                seconds=3.0,
                error=error,
            )
        )
        self.number += 1


@pytest.fixture
def records() -> list[Record]:
    """Six configurations; 0, 1, 2 and 3 are promoted to the second epoch; 4 fails."""
    journal = Journal()
    for config, loss in enumerate([0.1, 0.2, 0.3, 0.4]):
        journal.evaluate(config, losses=[loss])
    journal.evaluate(4, losses=[None], error=f"the loss is nan {NASTY}")
    journal.evaluate(5, losses=[0.05])
    for config, loss in enumerate([0.01, 0.03, 0.02, 0.04]):
        journal.evaluate(config, losses=[loss], start=1)
    journal.records.append(Closed(time=99.0, state="finished"))
    return journal.records
