"""A small BERT reads much, is told little, and judges words that nobody explained to it, with Hugging Face's Trainer:

    python -m flambeau run examples/ecosystem/transformers_finetune.py

First it learns the language from reviews without labels, by words that are hidden (Devlin et al., arXiv:1810.04805). What
it learnt is saved and read into a classifier, which is fine-tuned on few labelled reviews. They use half of the adjectives;
the test uses the other half, whose sense can only come from the first part.
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

GOOD = "fresh tasty crisp warm lovely tender juicy rich sweet perfect".split()
BAD = "stale bland soggy cold awful tough dry thin sour burnt".split()
DISHES = "soup bread salad fish rice cake tea pasta pie stew".split()
LIKED = "we loved it,we will come back,it made our day,what a find".split(",")
LEFT = "we left early,we want our money back,it ruined our day,what a shame".split(",")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def review(rng: np.random.Generator, good: bool, words: list[list[str]], told: bool) -> str:
    """Two dishes, each called something by ``words`` (bad ones, good ones); what the guests did is told or not."""
    dishes = rng.choice(DISHES, 2, replace=False)
    first, second = rng.choice(words[good], 2)
    denied = rng.choice(words[not good])
    said = f"the {dishes[0]} was {first} and the {dishes[1]} was " + (f"not {denied}" if rng.random() < 0.3 else second)
    return f"{said} , {rng.choice([LEFT, LIKED][good])}" if told else said


def reviews(rng: np.random.Generator, count: int, words: list[list[str]], told: bool) -> tuple[list[str], list[int]]:
    """Reviews and whether they are good."""
    labels = rng.integers(0, 2, count).tolist()
    return [review(rng, bool(good), words, told) for good in labels], labels


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
        folder, per_device_train_batch_size=64, per_device_eval_batch_size=200, report_to=[], save_strategy="no",
        disable_tqdm=True, dataloader_pin_memory=False, seed=0, **more,
    )  # fmt: skip


def main(quick: bool = False, device: str = "cpu") -> tuple[float, float]:
    """Train in both parts, and return the accuracy on unexplained words before and after the second."""
    os.environ["ACCELERATE_TORCH_DEVICE"] = device  # what the Trainer computes on, where it is no CUDA device
    transformers.set_seed(0)
    transformers.utils.logging.disable_progress_bar()
    rng, tokens = np.random.default_rng(0), tokenizer()
    explained, others = [BAD[::2], GOOD[::2]], [BAD[1::2], GOOD[1::2]]
    with tempfile.TemporaryDirectory() as folder:
        config = transformers.BertConfig(
            vocab_size=len(tokens), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
            max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        unlabelled, _ = reviews(rng, 200 if quick else 4000, [BAD, GOOD], told=True)
        reader = transformers.Trainer(
            transformers.BertForMaskedLM(config),
            arguments(folder, learning_rate=2e-3, num_train_epochs=1 if quick else 8, logging_steps=2 if quick else 50),
            data_collator=transformers.DataCollatorForLanguageModeling(tokens, mlm_probability=0.3),
            train_dataset=Texts(tokens, unlabelled),
        )
        reader.train()
        print(f"on {reader.args.device}, {reader.state.log_history[-1]['train_runtime']:.0f} s of reading")
        reader.save_model(folder)

        test = Texts(tokens, *reviews(rng, 400, others, told=False))
        judge = transformers.Trainer(
            transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2),
            arguments(folder, learning_rate=1e-3, num_train_epochs=4, logging_steps=4),
            data_collator=transformers.DataCollatorWithPadding(tokens),
            train_dataset=Texts(tokens, *reviews(rng, 200, explained, told=False)),
            eval_dataset=test,
            compute_metrics=accuracy,
        )
        before = judge.evaluate()["eval_accuracy"]
        judge.train()
        after = judge.evaluate()["eval_accuracy"]
    print(f"accuracy on words that no label explained: {before:.3f} before, {after:.3f} after fine-tuning")
    return before, after


if __name__ == "__main__":
    chosen = options(__doc__, "opencl")
    main(chosen.quick, chosen.device)
