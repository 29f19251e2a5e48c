"""x-transformers: decoders, encoders and their many switches, the autoregressive wrapper, generation."""

from __future__ import annotations

from typing import Any

import jobs
import torch
from jobs import even, gradients, job, tensor, whole
from x_transformers import (
    AutoregressiveWrapper,
    ContinuousTransformerWrapper,
    CrossAttender,
    Decoder,
    Encoder,
    TransformerWrapper,
    ViTransformerWrapper,
    XTransformer,
)

SWITCHES: dict[str, dict[str, Any]] = {
    "plain": {},
    "rotary": {"rotary_pos_emb": True},
    "alibi": {"alibi_pos_bias": True, "alibi_num_heads": 2},
    "t5": {"rel_pos_bias": True},
    "dynamic": {"dynamic_pos_bias": True, "dynamic_pos_bias_log_distance": False},
    "rms": {"use_rmsnorm": True},
    "glu": {"ff_glu": True, "ff_swish": True, "ff_no_bias": True},
    "relu2": {"ff_relu_squared": True},
    "one_kv": {"attn_one_kv_head": True},
    "grouped": {"attn_kv_heads": 1},
    "memory": {"attn_num_mem_kv": 3},
    "qk_norm": {"attn_qk_norm": True},
    "talking": {"attn_pre_talking_heads": True},
    "gated": {"attn_gate_values": True},
    "sandwich": {"sandwich_coef": 1},
    "residual": {"gate_residual": True},
    "shift": {"shift_tokens": 1},
    "macaron": {"macaron": True},
    "flash": {"attn_flash": True},
    "sparse": {"attn_sparse_topk": 3},
}


def decoder(**more: Any) -> Any:
    return TransformerWrapper(
        num_tokens=16, max_seq_len=12, attn_layers=Decoder(dim=16, depth=2, heads=2, attn_dim_head=8, **more)
    )


@job
def decoders() -> Any:
    """Twenty switches of a decoder: outputs and gradients."""
    answers = {}
    for name, more in SWITCHES.items():
        model = even(decoder(**more))
        out = model(whole(16, 2, 10))
        out.pow(2).mean().backward()
        norms = gradients(model)
        answers[name] = [out, len(norms), sum(norms.values())]
    return answers


@job
def encoders_with_masks() -> Any:
    """An encoder under a mask, with its embeddings and attention."""
    model = even(TransformerWrapper(num_tokens=16, max_seq_len=12, attn_layers=Encoder(dim=16, depth=2, heads=2)))
    mask = torch.arange(10).to(jobs.DEVICE)[None] < torch.tensor([[7], [10]]).to(jobs.DEVICE)
    out, parts = model(whole(16, 2, 10), mask=mask, return_logits_and_embeddings=True)
    return out[mask], parts[mask], model(whole(16, 2, 10), mask=mask, return_attn=True)[1][0]


@job
def autoregressive() -> Any:
    """The loss of the next token; generation with and without cache, beams."""
    model = even(AutoregressiveWrapper(decoder(rotary_pos_emb=True), pad_value=0))
    loss = model(whole(16, 2, 11))
    loss.backward()
    norms = gradients(model)
    model.eval()
    prompt = whole(16, 2, 3)
    return [
        loss,
        norms,
        model.generate(prompt, 6, temperature=0.0),
        model.generate(prompt, 6, temperature=0.0, cache_kv=False),
        model.generate(prompt[0], 6, temperature=0.0, eos_token=3),
        model.generate(prompt, 5).shape,
        model.beam_search(prompt, 4, beams=2, temperature=0.0).shape,
    ]


@job
def encoder_and_decoder() -> Any:
    """A translator's loss and gradients, and cross attention alone."""
    model = even(
        XTransformer(
            dim=16,
            enc_num_tokens=16,
            enc_depth=1,
            enc_heads=2,
            enc_max_seq_len=10,
            dec_num_tokens=16,
            dec_depth=1,
            dec_heads=2,
            dec_max_seq_len=10,
            tie_token_emb=True,
        )
    )
    source, target = whole(16, 2, 10), whole(16, 2, 9, seed=1)
    loss = model(source, target)
    loss.backward()
    cross = even(CrossAttender(dim=16, depth=1, heads=2))
    return loss, gradients(model), cross(tensor(2, 4, 16), context=tensor(2, 6, 16, seed=1))


@job
def images_and_numbers() -> Any:
    """Transformers of images and of numbers."""
    vision = even(
        ViTransformerWrapper(image_size=16, patch_size=8, num_classes=5, attn_layers=Encoder(dim=16, depth=1, heads=2))
    )
    numbers = even(
        ContinuousTransformerWrapper(dim_in=4, dim_out=3, max_seq_len=8, attn_layers=Encoder(dim=16, depth=1, heads=2))
    )
    return vision(tensor(2, 3, 16, 16)), numbers(tensor(2, 8, 4))


@job
def training() -> Any:
    """Eight steps of AdamW with clipped gradients."""
    model = even(AutoregressiveWrapper(decoder(attn_flash=True, rotary_pos_emb=True)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = model(whole(16, 4, 12, seed=1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    jobs.main("x-transformers")
