"""transformers: architectures in small, generation, saving and loading, Trainer. Nothing is downloaded."""

from __future__ import annotations

import functools
import os
import tempfile
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "WANDB_DISABLED": "true"}
os.environ |= {"TOKENIZERS_PARALLELISM": "false"}

import jobs
import torch
import transformers
from jobs import JOBS, even, gradients, job, tensor, whole

WORDS = 40
#: The sizes that most configurations share.
SMALL: dict[str, Any] = {
    "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
SEQ2SEQ: dict[str, Any] = {
    "vocab_size": WORDS, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 32,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip
LAYERS: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
}  # fmt: skip
PICTURE: dict[str, Any] = {**LAYERS, "image_size": 16, "patch_size": 4}

#: Each architecture: its configuration's sizes, and the head that computes a loss.
ENCODERS: dict[str, tuple[dict[str, Any], str]] = {
    "Bert": (SMALL, "ForMaskedLM"),
    "Roberta": (SMALL, "ForTokenClassification"),
    "Albert": ({**SMALL, "embedding_size": 16}, "ForMaskedLM"),
    "DistilBert": ({"vocab_size": WORDS, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48,
                    "max_position_embeddings": 32}, "ForMaskedLM"),
    "Electra": ({**SMALL, "embedding_size": 16}, "ForMaskedLM"),
    "DebertaV2": ({**SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}, "ForMaskedLM"),
    "MPNet": (SMALL, "ForMaskedLM"),
    "ConvBert": ({**SMALL, "embedding_size": 16}, "ForMaskedLM"),
    "ModernBert": ({**SMALL, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 4}, "ForMaskedLM"),
    "RoFormer": ({**SMALL, "embedding_size": 16}, "ForMaskedLM"),
    "XLNet": ({"vocab_size": WORDS, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}, "LMHeadModel"),
    "FNet": (SMALL, "ForMaskedLM"),
}  # fmt: skip
DECODERS: dict[str, tuple[dict[str, Any], str]] = {
    "GPT2": ({"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, "bos_token_id": 1,
              "eos_token_id": 2}, "LMHeadModel"),
    "Llama": ({**SMALL, "num_key_value_heads": 2}, "ForCausalLM"),
    "Mistral": ({**SMALL, "num_key_value_heads": 2, "sliding_window": 4}, "ForCausalLM"),
    "Mixtral": ({**SMALL, "num_key_value_heads": 2, "num_local_experts": 4}, "ForCausalLM"),
    "Qwen2": ({**SMALL, "num_key_value_heads": 2}, "ForCausalLM"),
    "Qwen3": ({**SMALL, "num_key_value_heads": 2, "head_dim": 8}, "ForCausalLM"),
    "Gemma": ({**SMALL, "num_key_value_heads": 1, "head_dim": 8}, "ForCausalLM"),
    "Gemma2": ({**SMALL, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4}, "ForCausalLM"),
    "Phi": (SMALL, "ForCausalLM"),
    "Phi3": ({**SMALL, "num_key_value_heads": 2}, "ForCausalLM"),
    "OPT": ({"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48,
             "max_position_embeddings": 32, "word_embed_proj_dim": 32, "pad_token_id": 0}, "ForCausalLM"),
    "Bloom": ({"vocab_size": WORDS, "hidden_size": 32, "n_layer": 2, "n_head": 4}, "ForCausalLM"),
    "Falcon": ({**SMALL, "new_decoder_architecture": False}, "ForCausalLM"),
    "GPTNeo": ({"vocab_size": WORDS, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "intermediate_size": 48,
                "attention_types": [[["global", "local"], 1]], "window_size": 4, "max_position_embeddings": 32,
                "bos_token_id": 1, "eos_token_id": 2}, "ForCausalLM"),
    "GPTNeoX": (SMALL, "ForCausalLM"),
    "GPTJ": ({"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, "rotary_dim": 4,
              "bos_token_id": 1, "eos_token_id": 2}, "ForCausalLM"),
    "StableLm": ({**SMALL, "num_key_value_heads": 4}, "ForCausalLM"),
    "Olmo2": (SMALL, "ForCausalLM"),
    "Cohere": (SMALL, "ForCausalLM"),
    "Starcoder2": ({**SMALL, "num_key_value_heads": 2}, "ForCausalLM"),
    "Mamba": ({"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "pad_token_id": 0,
               "bos_token_id": 1, "eos_token_id": 2}, "ForCausalLM"),
}  # fmt: skip
TRANSLATORS: dict[str, tuple[dict[str, Any], str]] = {
    "T5": ({"vocab_size": WORDS, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
            "decoder_start_token_id": 0}, "ForConditionalGeneration"),
    "Bart": ({**SEQ2SEQ, "forced_eos_token_id": None}, "ForConditionalGeneration"),
    "Pegasus": (SEQ2SEQ, "ForConditionalGeneration"),
    "Marian": (SEQ2SEQ, "MTModel"),
}  # fmt: skip
PICTURES: dict[str, tuple[dict[str, Any], str]] = {
    "ViT": (PICTURE, "ForImageClassification"),
    "DeiT": (PICTURE, "ForImageClassification"),
    "Beit": (PICTURE, "ForImageClassification"),
    "Dinov2": ({**PICTURE, "mlp_ratio": 2}, "ForImageClassification"),
    "Swin": ({"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4],
              "window_size": 2}, "ForImageClassification"),
    "ConvNext": ({"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 2},
                 "ForImageClassification"),
    "ResNet": ({"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
               "ForImageClassification"),
    "Segformer": ({"num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16],
                   "patch_sizes": [3, 3], "strides": [2, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2],
                   "decoder_hidden_size": 16}, "ForSemanticSegmentation"),
}  # fmt: skip


def built(name: str, sizes: dict[str, Any], head: str, **more: Any) -> Any:
    """A model with weights that are the same everywhere, without dropout."""
    made = getattr(transformers, name + "Config")(**sizes, **more)
    return even(getattr(transformers, name + head)(made)).eval()


def summary(model: Any, out: Any, whole_gradients: bool) -> Any:
    """Loss, logits and gradients (each, or how many and the norm of all) of an output."""
    out.loss.backward()
    each = gradients(model)
    together = each if whole_gradients else [len(each), sum(v * v for v in each.values()) ** 0.5]
    return out.loss, out.logits, together


def text() -> Any:
    """Three sentences of token numbers, two of them padded at the end, and their mask."""
    ids, mask = whole(WORDS - 5, 3, 8, seed=3) + 5, torch.ones(3, 8, dtype=torch.long, device=jobs.DEVICE)
    mask[0, 6:] = mask[2, 5:] = 0
    return ids, mask


def encoder(name: str) -> Any:
    """An encoder of text: loss, logits, gradients."""
    model = built(name, *ENCODERS[name])
    ids, mask = text()
    labels = whole(2, 3, 8) if ENCODERS[name][1] == "ForTokenClassification" else ids
    masked = {} if name == "FNet" else {"attention_mask": mask}
    return summary(model, model(ids, labels=labels, **masked), name == "Bert")


def decoder(name: str) -> Any:
    """A causal language model: loss, logits, gradients, greedy generation."""
    model = built(name, *DECODERS[name])
    ids, mask = text()
    found = summary(model, model(ids, attention_mask=mask, labels=ids), name in ("GPT2", "Llama"))
    written = model.generate(ids[:2, :5], max_new_tokens=6, do_sample=False, pad_token_id=0)
    return found, written


def translator(name: str) -> Any:
    """An encoder with a decoder: loss, logits, gradients, greedy and beam generation."""
    model = built(name, *TRANSLATORS[name])
    ids, mask = text()
    found = summary(model, model(ids, attention_mask=mask, labels=ids.flip(1)), name == "T5")
    written = [model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False, num_beams=n) for n in (1, 3)]
    return found, written


def picture(name: str) -> Any:
    """A model of images: loss, logits, gradients."""
    model = built(name, *PICTURES[name], num_labels=5)
    labels = torch.tensor([1, 3], device=jobs.DEVICE)
    labels = whole(5, 2, 16, 16) if name == "Segformer" else labels
    size = 32 if name == "ResNet" else 16
    return summary(model, model(tensor(2, 3, size, size), labels=labels), name == "ViT")


for kind, names in ((encoder, ENCODERS), (decoder, DECODERS), (translator, TRANSLATORS), (picture, PICTURES)):
    for each in names:
        JOBS[each.lower()] = functools.partial(kind, each)


@job
def whisper() -> Any:
    """Speech to text: loss, logits, gradients, generation."""
    sizes = {**SEQ2SEQ, "num_mel_bins": 8, "max_source_positions": 16, "max_target_positions": 16}
    sizes |= {"suppress_tokens": None, "begin_suppress_tokens": None}
    model = built("Whisper", sizes, "ForConditionalGeneration")
    sound, ids = tensor(2, 8, 32), whole(WORDS - 5, 2, 6, seed=3) + 5
    found = summary(model, model(sound, labels=ids), True)
    model.generation_config.update(pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)
    return found, model.generate(sound, max_new_tokens=5, do_sample=False)


def listener(name: str) -> Any:
    sizes = {**LAYERS, "vocab_size": 12, "conv_dim": [8, 8], "conv_stride": [4, 2], "conv_kernel": [6, 3],
             "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "mask_time_prob": 0.0,
             "num_feat_extract_layers": 2, "feat_extract_norm": "group", "layerdrop": 0.0}  # fmt: skip
    model = built(name, sizes, "ForCTC", ctc_loss_reduction="mean")
    return summary(model, model(tensor(2, 200), labels=whole(10, 2, 5) + 1), False)


@job
def wav2vec2() -> Any:
    """Speech with connectionist temporal classification: loss, logits, gradients."""
    return listener("Wav2Vec2")


@job
def hubert() -> Any:
    """Speech with connectionist temporal classification: loss, logits, gradients."""
    return listener("Hubert")


@job
def clip() -> Any:
    """Images beside texts: loss, similarities, embeddings, gradients."""
    words = {**SMALL, "projection_dim": 16}
    made = transformers.CLIPConfig(text_config=words, vision_config=PICTURE, projection_dim=16)
    model = even(transformers.CLIPModel(made)).eval()
    ids, mask = text()
    out = model(ids, tensor(3, 3, 16, 16), mask, return_loss=True)
    out.loss.backward()
    return out.loss, out.logits_per_image, out.text_embeds, out.image_embeds, gradients(model)


@job
def timeseries() -> Any:
    """PatchTST: loss, forecasts, gradients."""
    made = transformers.PatchTSTConfig(num_input_channels=2, context_length=16, patch_length=4, patch_stride=4,
                                       prediction_length=4, d_model=16, num_attention_heads=2, ffn_dim=24,
                                       num_hidden_layers=2, loss="mse")  # fmt: skip
    model = even(transformers.PatchTSTForPrediction(made)).eval()
    out = model(past_values=tensor(3, 16, 2), future_values=tensor(3, 4, 2, seed=1))
    out.loss.backward()
    return out.loss, out.prediction_outputs, gradients(model)


@job
def heads() -> Any:
    """Bert's other heads, and attention that is asked for its weights."""
    ids, mask = text()
    one = built("Bert", SMALL, "ForSequenceClassification", num_labels=3, attn_implementation="eager")
    out = one(ids, attention_mask=mask, labels=whole(3, 3), output_attentions=True, output_hidden_states=True)
    found = [summary(one, out, False), out.attentions[-1], out.hidden_states[1]]
    two = built("Bert", SMALL, "ForQuestionAnswering")
    out = two(ids, attention_mask=mask, start_positions=whole(8, 3), end_positions=whole(8, 3, seed=1))
    out.loss.backward()
    found += [out.loss, out.start_logits, gradients(two)]
    three = built("Bert", SMALL, "ForMultipleChoice")
    return found, three(ids[None], attention_mask=mask[None], labels=whole(3, 1)).loss


def writer() -> Any:
    return built("Llama", *DECODERS["Llama"])


@job
def beams() -> Any:
    """Beam search: sequences, scores, forbidden and repeated words."""
    model, (ids, _) = writer(), text()
    asked: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "return_dict_in_generate": True}
    many = model.generate(ids, **asked, num_beams=4, num_return_sequences=2, output_scores=True)
    strict = model.generate(ids, **asked, num_beams=3, no_repeat_ngram_size=2, repetition_penalty=1.3, min_length=12,
                            length_penalty=0.7, early_stopping=True, bad_words_ids=[[7]])  # fmt: skip
    return many.sequences, many.sequences_scores, many.scores[-1], strict.sequences


@job
def greedy() -> Any:
    """Left padding, scores, without a cache, with a static one, and with what a shorter model proposes."""
    model, (ids, mask) = writer(), text()
    ids, mask = ids.flip(1), mask.flip(1)
    asked: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "attention_mask": mask}
    scored = model.generate(ids, **asked, return_dict_in_generate=True, output_scores=True, output_logits=True)
    fixed = model.generate(ids, **asked, cache_implementation="static")
    guess = model.generate(ids[1:2], max_new_tokens=6, do_sample=False, prompt_lookup_num_tokens=2)
    assisted = model.generate(ids[1:2], max_new_tokens=6, do_sample=False, assistant_model=writer())
    return scored.sequences, scored.scores, scored.logits[-1], model.generate(ids, **asked, use_cache=False), [
        fixed, guess, assisted]  # fmt: skip


@job
def sampled() -> Any:
    """What is drawn differs between generators; its shape and range do not."""
    transformers.set_seed(3)
    model, (ids, _) = writer(), text()
    ways = [{}, {"top_k": 5}, {"top_p": 0.8}, {"min_p": 0.1}, {"typical_p": 0.7}, {"epsilon_cutoff": 0.01},
            {"temperature": 0.5, "num_beams": 2}, {"num_return_sequences": 3}]  # fmt: skip
    found = []
    for way in ways:
        out = model.generate(ids, do_sample=True, min_new_tokens=6, max_new_tokens=6, **way)
        same = bool((out[:: out.shape[0] // 3, :8] == ids).all())
        found.append([list(out.shape), str(out.dtype), same, bool(((out >= 0) & (out < WORDS)).all())])
    sure = model.generate(ids, do_sample=True, top_k=1, max_new_tokens=6)
    return found, sure


@job
def streamed() -> Any:
    """A criterion of one's own stops, a processor of one's own forbids, a streamer hears each token."""

    class Heard:
        def __init__(self) -> None:
            self.tokens: list[Any] = []

        def put(self, value: Any) -> None:
            self.tokens.append(value.tolist())

        def end(self) -> None:
            self.tokens.append("end")

    class Odd(transformers.LogitsProcessor):
        def __call__(self, ids: Any, scores: Any) -> Any:
            scores = scores.clone()
            scores[:, ::2] = -float("inf")
            return scores

    class Long(transformers.StoppingCriteria):
        def __call__(self, ids: Any, scores: Any, **more: Any) -> Any:
            return torch.full((ids.shape[0],), ids.shape[1] >= 12, device=ids.device)

    heard, model = Heard(), writer()
    out = model.generate(text()[0][:1], max_new_tokens=20, do_sample=False, streamer=heard, logits_processor=[Odd()],
                         stopping_criteria=[Long()])  # fmt: skip
    return out, heard.tokens


@job
def saved() -> Any:
    """save_pretrained and from_pretrained, whole, in shards, and in another precision."""
    found = []
    for name, sizes, head in (("Bert", SMALL, "ForMaskedLM"), ("GPT2", *DECODERS["GPT2"]), ("T5", *TRANSLATORS["T5"])):
        model, kind = built(name, sizes, head), getattr(transformers, name + head)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder, max_shard_size="20KB")
            files = sorted(f for f in os.listdir(folder) if f.endswith((".safetensors", ".json")))
            back = kind.from_pretrained(folder).to(jobs.DEVICE)
            half = kind.from_pretrained(folder, dtype=torch.bfloat16)
            auto = transformers.AutoModel.from_pretrained(folder)
        same = all(bool((a == b).all()) for a, b in zip(model.state_dict().values(), back.state_dict().values(),
                                                        strict=True))  # fmt: skip
        found += [files, same, str(half.dtype), type(auto).__name__, back.num_parameters()]
    return found


@job
def resized() -> Any:
    """More tokens, tied weights, gradient checkpointing."""
    model = built("GPT2", *DECODERS["GPT2"], resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    model.resize_token_embeddings(WORDS + 4, mean_resizing=False)
    model.gradient_checkpointing_enable()
    ids, mask = text()
    out = model.train()(ids, attention_mask=mask).logits[..., :WORDS]
    out.square().mean().backward()
    grown = model.transformer.wte.weight
    return list(grown.shape), model.lm_head.weight is grown, model.transformer.h[0].mlp.c_fc.weight.grad


class Sentences(torch.utils.data.Dataset):
    """Sentences of random tokens; their label says whether the first is above the middle."""

    def __init__(self, many: int) -> None:
        self.ids = whole(WORDS - 5, many, 8, seed=7).cpu() + 5

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"input_ids": self.ids[i], "labels": int(self.ids[i, 0] > WORDS // 2)}


def taught(folder: str, **more: Any) -> Any:
    """A Trainer over Bert that has not begun; its batches come in order."""

    class Ordered(transformers.Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = built("Bert", SMALL, "ForSequenceClassification", num_labels=2, **quiet)
    asked = {"per_device_train_batch_size": 8, "learning_rate": 5e-3, "logging_steps": 2, "report_to": [],
             "disable_tqdm": True, "save_strategy": "no", "max_steps": 6, "use_cpu": jobs.DEVICE == "cpu",
             **more}  # fmt: skip
    arguments = transformers.TrainingArguments(folder, **asked)

    def right(p: Any) -> dict[str, float]:
        return {"right": float((p.predictions.argmax(-1) == p.label_ids).mean())}

    return Ordered(model, arguments, train_dataset=Sentences(64), eval_dataset=Sentences(16),
                   compute_metrics=right)  # fmt: skip


def logged(trainer: Any) -> Any:
    timed = ("runtime", "per_second", "flos")
    return [{k: v for k, v in line.items() if not k.endswith(timed)} for line in trainer.state.log_history]


@job
def trainer() -> Any:
    """A Trainer with evaluation, warm-up and weight decay: its log and predictions."""
    with tempfile.TemporaryDirectory() as folder:
        made = taught(folder, eval_strategy="steps", eval_steps=3, warmup_steps=2, weight_decay=0.01)
        made.train()
        seen = made.predict(Sentences(4))
    return logged(made), seen.predictions, seen.label_ids


@job
def trainer_accumulates() -> Any:
    """A Trainer with accumulated gradients, SGD, a cosine and smoothed labels."""
    with tempfile.TemporaryDirectory() as folder:
        made = taught(folder, gradient_accumulation_steps=2, max_steps=3, max_grad_norm=0.5, optim="sgd",
                      lr_scheduler_type="cosine", label_smoothing_factor=0.1)  # fmt: skip
        made.train()
    return logged(made)


@job
def trainer_resumes() -> Any:
    """A Trainer goes on from a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        first = taught(folder, save_strategy="steps", save_steps=3)
        first.train()
        files = sorted(os.listdir(os.path.join(folder, "checkpoint-3")))
        second = taught(folder)
        second.train(resume_from_checkpoint=os.path.join(folder, "checkpoint-3"))
    return files, logged(first), logged(second)


@job
def pieces() -> Any:
    """The optimizers' schedules, masks and activations that the library has of its own."""
    line = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(line.parameters(), lr=1.0)
    rates = {}
    for name in ("linear", "cosine", "polynomial", "constant_with_warmup", "inverse_sqrt"):
        schedule = transformers.get_scheduler(name, optimizer, num_warmup_steps=2, num_training_steps=8)
        rates[name] = []
        for _ in range(8):
            rates[name].append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
    acts = [transformers.activations.ACT2FN[n](tensor(5)) for n in ("gelu", "gelu_new", "quick_gelu", "silu", "mish",
                                                                   "relu2", "laplace")]  # fmt: skip
    return rates, acts


if __name__ == "__main__":
    jobs.main("transformers")
