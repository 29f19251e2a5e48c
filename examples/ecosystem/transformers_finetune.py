"""A small BERT reads reviews and learns to judge them, with Hugging Face's Trainer:

    python -m flambeau run examples/ecosystem/transformers_finetune.py

First it learns the language from reviews without labels, by words that are hidden (Devlin et al., arXiv:1810.04805).
What it learnt is saved, read into a classifier, and fine-tuned on a few reviews with labels.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
from shared import options

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

GOOD = ["fresh", "tasty", "crisp", "warm", "lovely", "tender", "juicy", "rich", "sweet", "perfect"]
BAD = ["stale", "bland", "soggy", "cold", "awful", "tough", "dry", "thin", "sour", "burnt"]
DISHES = ["soup", "bread", "salad", "fish", "rice", "cake", "tea", "pasta", "pie", "stew"]
LIKED = ["we loved it", "we will come back", "it made our day", "what a find"]
LEFT = ["we left early", "we want our money back", "it ruined our day", "what a shame"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def review(rng: np.random.Generator, good: bool, told: bool) -> str:
    """Two dishes and how they were; what the guests did is told or not."""
    dishes = rng.choice(DISHES, 2, replace=False)
    first, second = rng.choice([BAD, GOOD][good], 2)
    denied = rng.choice([GOOD, BAD][good])
    said = f"the {dishes[0]} was {first} and the {dishes[1]} was " + (f"not {denied}" if rng.random() < 0.3 else second)
    return f"{said} , {rng.choice([LEFT, LIKED][good])}" if told else said


def reviews(rng: np.random.Generator, count: int, told: bool) -> tuple[list[str], list[int]]:
    """Reviews and whether they are good."""
    labels = rng.integers(0, 2, count).tolist()
    return [review(rng, bool(good), told) for good in labels], labels


def tokenizer() -> Any:
    """A token for each word, and BERT's marks around a text."""
    texts = [*GOOD, *BAD, *DISHES, *LIKED, *LEFT, "the was and not ,"]
    words = sorted({w for text in texts for w in text.split()})
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*SPECIAL, *words])}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names)


class Texts(torch.utils.data.Dataset):
    """Texts as the Trainer takes them, with labels where they are given."""

    def __init__(self, tokens: Any, texts: list[str], labels: list[int] | None = None) -> None:
        self.encoded, self.labels = tokens(texts)["input_ids"], labels

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, i: int) -> dict[str, Any]:
        item = {"input_ids": self.encoded[i], "attention_mask": [1] * len(self.encoded[i])}
        return item if self.labels is None else {**item, "labels": self.labels[i]}


def accuracy(prediction: transformers.EvalPrediction) -> dict[str, float]:
    """Which part of the labels the scores hit."""
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def arguments(folder: str, **more: Any) -> transformers.TrainingArguments:
    """What both parts of the training ask for."""
    return transformers.TrainingArguments(
        folder, per_device_train_batch_size=32, per_device_eval_batch_size=200, report_to=[], save_strategy="no",
        disable_tqdm=True, dataloader_pin_memory=False, seed=0, **more,
    )  # fmt: skip


def read(folder: str, tokens: Any, texts: list[str], epochs: int) -> None:
    """Learn from texts, some of whose words are hidden, and save the model."""
    config = transformers.BertConfig(
        vocab_size=len(tokens), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    reader = transformers.Trainer(
        transformers.BertForMaskedLM(config),
        arguments(folder, learning_rate=2e-3, num_train_epochs=epochs, logging_steps=2 if epochs == 1 else 50),
        data_collator=transformers.DataCollatorForLanguageModeling(tokens, mlm_probability=0.3),
        train_dataset=Texts(tokens, texts),
    )
    reader.train()
    reader.save_model(folder)


def main(quick: bool = False, device: str = "cpu") -> tuple[float, float]:
    """Train in both parts, and return the accuracy on new reviews before and after the second."""
    os.environ["ACCELERATE_TORCH_DEVICE"] = device  # what the Trainer computes on, where it is no CUDA device
    transformers.set_seed(0)
    transformers.utils.logging.disable_progress_bar()
    rng, tokens = np.random.default_rng(0), tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        unlabelled, _ = reviews(rng, 256 if quick else 2048, told=True)
        read(folder, tokens, unlabelled, epochs=1 if quick else 3)
        judge = transformers.Trainer(
            transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2),
            arguments(folder, learning_rate=1e-3, num_train_epochs=5 if quick else 8, logging_steps=16),
            data_collator=transformers.DataCollatorWithPadding(tokens),
            train_dataset=Texts(tokens, *reviews(rng, 512, told=False)),
            eval_dataset=Texts(tokens, *reviews(rng, 400, told=False)),
            compute_metrics=accuracy,
        )
        before = judge.evaluate()["eval_accuracy"]
        judge.train()
        after = judge.evaluate()["eval_accuracy"]
    print(f"on {judge.args.device}: accuracy on new reviews {before:.3f} before fine-tuning, {after:.3f} after")
    return before, after


if __name__ == "__main__":
    chosen = options(__doc__, "opencl")
    main(chosen.quick, chosen.device)
