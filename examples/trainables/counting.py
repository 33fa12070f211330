"""A Hugging Face `Trainer` as a function: a tiny BERT that finds the more frequent of two words.

python counting.py
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer
from torch.utils.data import TensorDataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

import emotune

WORDS, LENGTH = 12, 15


def sentences(count: int, *, seed: int) -> TensorDataset:
    """Return random sentences, and whether word 1 is in each more often than word 2."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(WORDS, (4 * count, LENGTH), generator=generator)
    difference = (words == 1).sum(dim=1) - (words == 2).sum(dim=1)
    decided = difference.nonzero().flatten()[:count]
    return TensorDataset(words[decided], (difference[decided] > 0).long())


def collate(rows: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return a batch with the names that the model expects."""
    words, labels = zip(*rows, strict=True)
    return {"input_ids": torch.stack(words), "labels": torch.stack(labels)}


def accuracy(prediction: Any) -> dict[str, float]:
    """Return the accuracy of the validation sentences."""
    return {"accuracy": float(np.mean(prediction.predictions.argmax(axis=1) == prediction.label_ids))}


def train(config: dict[str, Any], epochs: int, checkpoint: Path) -> dict[str, float]:
    """Train up to a number of epochs: the trainer resumes from its own checkpoint, which is in the folder."""
    torch.set_num_threads(1)
    set_seed(0)
    width = 16 * config["heads"]
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_attention_heads": config["heads"]}
    model = BertForSequenceClassification(
        BertConfig(vocab_size=WORDS, num_hidden_layers=config["layers"], max_position_embeddings=LENGTH, **sizes)
    )
    arguments = TrainingArguments(
        output_dir=str(checkpoint),
        num_train_epochs=epochs,
        learning_rate=config["lr"],
        lr_scheduler_type="constant",  # a schedule that depends on the last epoch would not allow a promotion
        per_device_train_batch_size=32,
        per_device_eval_batch_size=256,
        save_strategy="epoch",
        save_total_limit=1,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=0,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=sentences(1024, seed=0),
        eval_dataset=sentences(256, seed=1),
        data_collator=collate,
        compute_metrics=accuracy,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=any(checkpoint.glob("checkpoint-*")))
    metrics = trainer.evaluate()
    return {"loss": metrics["eval_loss"], "accuracy": metrics["eval_accuracy"]}


space = ConfigurationSpace()
space.add(
    Float("lr", (3e-4, 1e-2), log=True),
    Integer("layers", (1, 3)),
    Categorical("heads", [1, 2, 4], ordered=True),
)

if __name__ == "__main__":
    result = emotune.search(
        train,
        space=space,
        budget=emotune.Budget(1, 9, eta=3, brackets=1),
        metric="accuracy",
        mode="max",
        name="counting",
        concurrency=2,
        resources={"CPU": 1},
    )
    print(result.best.values, result.best.metrics)
