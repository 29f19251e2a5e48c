"""peft: adapters on a small Llama and Bert: LoRA and its relatives, their gradients, merged, saved and loaded."""

from __future__ import annotations

import functools
import os
import tempfile
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

import jobs
import peft
import torch
import transformers
from jobs import JOBS, even, gradients, job, whole

SIZES: dict[str, Any] = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LAYERS = ["q_proj", "v_proj"]
KINDS: dict[str, Any] = {
    "lora": lambda: peft.LoraConfig(r=4, lora_alpha=8, target_modules=LAYERS, task_type="CAUSAL_LM"),
    "rslora": lambda: peft.LoraConfig(r=4, use_rslora=True, target_modules="all-linear", bias="all"),
    "dora": lambda: peft.LoraConfig(r=4, use_dora=True, target_modules=LAYERS),
    "loha": lambda: peft.LoHaConfig(r=4, alpha=8, target_modules=LAYERS),
    "lokr": lambda: peft.LoKrConfig(r=4, alpha=8, target_modules=LAYERS),
    "ia3": lambda: peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "vera": lambda: peft.VeraConfig(r=4, target_modules=["q_proj"], projection_prng_key=3),
    "oft": lambda: peft.OFTConfig(oft_block_size=8, target_modules=LAYERS, use_cayley_neumann=False),
    "adalora": lambda: peft.AdaLoraConfig(
        init_r=6, target_r=3, total_step=10, tinit=1, tfinal=5, target_modules=LAYERS
    ),
    "layernorm": lambda: peft.LNTuningConfig(target_modules=["input_layernorm"]),
    "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "prefix": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "ptuning": lambda: peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=16),
}


def llama() -> Any:
    return even(transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, num_key_value_heads=2)))


def adapted(kind: str) -> Any:
    """The adapter's numbers are the same everywhere, and none of them zero."""
    return even(peft.get_peft_model(llama(), KINDS[kind]()), seed=1).eval()


def words() -> Any:
    return whole(35, 3, 8, seed=3) + 5


def tuned(kind: str) -> Any:
    """An adapter on a small Llama: loss, logits, gradients, trainable parameters."""
    model = adapted(kind)
    if kind == "vera":  # its fixed matrices are drawn
        for name, value in model.named_buffers():
            if "vera_" in name:
                value.copy_(whole(7, *value.shape) / 7 - 0.5)
    out = model(input_ids=words(), labels=words())
    out.loss.backward()
    return out.loss, out.logits, gradients(model), model.get_nb_trainable_parameters()


for each in KINDS:
    JOBS[each] = functools.partial(tuned, each)


@job
def merged() -> Any:
    """Merged, unmerged, switched off, and without a trace of the adapter."""
    model, ids = adapted("lora"), words()
    adaptive = model(ids).logits
    with model.disable_adapter():
        base = model(ids).logits
    model.merge_adapter()
    inside = model(ids).logits
    model.unmerge_adapter()
    back = model(ids).logits
    alone = model.merge_and_unload()
    return adaptive, base, inside, back, alone(ids).logits, type(alone).__name__, alone.generate(
        ids[:, :4], max_new_tokens=5, do_sample=False)  # fmt: skip


@job
def saved() -> Any:
    """Adapters saved, loaded, weighted together and switched."""
    model, ids = adapted("lora"), words()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        files = sorted(os.listdir(folder))
        back = peft.PeftModel.from_pretrained(even(llama(), seed=1), folder).to(jobs.DEVICE).eval()
        back.load_adapter(folder, "second")
    back.add_weighted_adapter(["default", "second"], [0.5, 0.25], "both", combination_type="linear")
    found = []
    for name in ("default", "second", "both"):
        back.set_adapter(name)
        found.append(back(ids).logits)
    return files, sorted(peft.get_peft_model_state_dict(model)), found, model(ids).logits


@job
def learns() -> Any:
    """A few steps; the base stays as it was."""
    model = adapted("lora").train()
    base = model.base_model.model.model.layers[0].mlp.up_proj.weight.clone()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.02)
    losses = []
    for _ in range(4):
        loss = model(input_ids=words(), labels=words()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, bool((model.base_model.model.model.layers[0].mlp.up_proj.weight == base).all())


@job
def classifier() -> Any:
    """The head of Bert is learned and saved with the adapter."""
    made = transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES, num_labels=3))
    asked = peft.LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS", modules_to_save=["classifier"])
    model = even(peft.get_peft_model(even(made), asked), seed=1).eval()
    out = model(input_ids=words(), labels=whole(3, 3))
    out.loss.backward()
    return out.loss, gradients(model), sorted(peft.get_peft_model_state_dict(model))


if __name__ == "__main__":
    jobs.main("peft")
