"""The six workloads in JAX: networks of parameters by name, and one jitted function for the whole of a step.

Weights, data and the optimizer's options come from a workload in torch's API, so that the losses must agree. Images
have their channels last and filters theirs too, the layout that XLA's convolutions take on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks import workloads

Parameters = Mapping[str, Any]
#: Logits of an input, and the buffers after that.
Network = Callable[..., tuple[Any, dict[str, Any]]]


# -- layers ------------------------------------------------------------------------------------------
def linear(p: Parameters, name: str, x: Any) -> Any:
    y = x @ p[f"{name}.weight"].T
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def conv(p: Parameters, name: str, x: Any, stride: int = 1, padding: int = 0) -> Any:
    """Of (N, H, W, C), by filters of (H, W, C, C')."""
    y = lax.conv_general_dilated(
        x, p[f"{name}.weight"], (stride, stride), [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def max_pool(x: Any) -> Any:
    """By windows of 2×2 that do not overlap."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def batch_norm(p: Parameters, buffers: dict[str, Any], name: str, x: Any, momentum: float = 0.1) -> Any:
    """By the batch's statistics, which are also mixed into the running ones."""
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    count = x.size // x.shape[-1]
    for kind, value in (("mean", mean), ("var", variance * count / (count - 1))):
        key = f"{name}.running_{kind}"
        buffers[key] = (1 - momentum) * buffers[key] + momentum * lax.stop_gradient(value)
    buffers[f"{name}.num_batches_tracked"] = buffers[f"{name}.num_batches_tracked"] + 1
    return (x - mean) * (lax.rsqrt(variance + 1e-5) * p[f"{name}.weight"]) + p[f"{name}.bias"]


def layer_norm(p: Parameters, name: str, x: Any) -> Any:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


# -- networks ----------------------------------------------------------------------------------------
def mlp(p: Parameters, buffers: dict[str, Any], x: Any, **_: int) -> tuple[Any, dict[str, Any]]:
    return linear(p, "2", jax.nn.relu(linear(p, "0", x))), buffers


def lenet(p: Parameters, buffers: dict[str, Any], x: Any, **_: int) -> tuple[Any, dict[str, Any]]:
    x = jax.nn.relu(conv(p, "2", jax.nn.relu(conv(p, "0", x))))
    x = max_pool(x).transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
    return linear(p, "8", jax.nn.relu(linear(p, "6", x))), buffers


def resnet18(p: Parameters, buffers: dict[str, Any], x: Any, **_: int) -> tuple[Any, dict[str, Any]]:
    buffers = dict(buffers)
    norm = partial(batch_norm, p, buffers)
    x = jax.nn.relu(norm("1", conv(p, "0", x, 1, 1)))
    for block in range(8):
        name, stride = f"{3 + block}", 2 if block in (2, 4, 6) else 1
        y = jax.nn.relu(norm(f"{name}.body.1", conv(p, f"{name}.body.0", x, stride, 1)))
        y = norm(f"{name}.body.4", conv(p, f"{name}.body.3", y, 1, 1))
        if f"{name}.shortcut.0.weight" in p:
            x = norm(f"{name}.shortcut.1", conv(p, f"{name}.shortcut.0", x, stride))
        x = jax.nn.relu(y + x)
    return linear(p, "13", x.mean((1, 2))), buffers


def gpt(
    p: Parameters, buffers: dict[str, Any], tokens: Any, width: int, layers: int, heads: int, **_: int
) -> tuple[Any, dict[str, Any]]:
    batch, steps = tokens.shape
    x = p["tokens.weight"][tokens] + p["places.weight"][:steps]
    for i in range(layers):
        name = f"blocks.{i}"
        parts = jnp.split(linear(p, f"{name}.qkv", layer_norm(p, f"{name}.before", x)), 3, axis=2)
        q, k, v = (part.reshape(batch, steps, heads, width // heads) for part in parts)
        seen = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        x = x + linear(p, f"{name}.out", seen.reshape(batch, steps, width))
        y = jax.nn.gelu(linear(p, f"{name}.up", layer_norm(p, f"{name}.between", x)), approximate=False)
        x = x + linear(p, f"{name}.down", y)
    return linear(p, "head", layer_norm(p, "norm", x)).reshape(batch * steps, -1), buffers


def lstm(p: Parameters, buffers: dict[str, Any], x: Any, hidden: int, **_: int) -> tuple[Any, dict[str, Any]]:
    """The inputs' part of the gates for all steps at once, then the steps."""
    inputs = x.transpose(1, 0, 2) @ p["rnn.weight_ih_l0"].T + (p["rnn.bias_ih_l0"] + p["rnn.bias_hh_l0"])
    recurrent = p["rnn.weight_hh_l0"].T

    def cell(state: tuple[Any, Any], given: Any) -> tuple[tuple[Any, Any], None]:
        h, c = state
        i, f, g, o = jnp.split(given + h @ recurrent, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zeros = jnp.zeros((x.shape[0], hidden), x.dtype)
    (h, _last), _outputs = lax.scan(cell, (zeros, zeros), inputs)
    return linear(p, "head", h), buffers


NETWORKS: Final[dict[str, Network]] = {
    "mlp": mlp, "lenet": lenet, "resnet18": resnet18, "gpt": gpt, "gpt_wide": gpt, "lstm": lstm,
}  # fmt: skip


def cross_entropy(logits: Any, target: Any) -> Any:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), target[:, None], axis=1).mean()


# -- optimizers --------------------------------------------------------------------------------------
#: The new parameters and the new state, of the parameters, their gradients, the state and the options.
Update = Callable[[Any, Any, Any, Mapping[str, Any]], tuple[Any, Any]]


def sgd(p: Any, grads: Any, state: Any, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """With weight decay and momentum as PyTorch defines them; no state without momentum."""
    lr, decay, momentum = options["lr"], options["weight_decay"], options["momentum"]
    if decay:
        grads = jax.tree.map(lambda g, w: g + decay * w, grads, p)
    if momentum:  # a velocity that begins with 0 is the first gradient after the first step
        grads = state = jax.tree.map(lambda m, g: momentum * m + g, state, grads)
    return jax.tree.map(lambda w, g: w - lr * g, p, grads), state


def adam(p: Any, grads: Any, state: Any, options: Mapping[str, Any], decoupled: bool = False) -> tuple[Any, Any]:
    """Kingma and Ba, arXiv:1412.6980; ``decoupled`` is AdamW's decay of the weights, arXiv:1711.05101."""
    lr, decay, (beta1, beta2), eps = (options[k] for k in ("lr", "weight_decay", "betas", "eps"))
    steps = state["steps"] + 1
    if decay and not decoupled:
        grads = jax.tree.map(lambda g, w: g + decay * w, grads, p)
    first = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, state["first"], grads)
    second = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, state["second"], grads)
    size, root = lr / (1 - beta1**steps), jnp.sqrt(1 - beta2**steps)
    kept = 1 - lr * decay if decoupled else 1.0

    def moved(w: Any, m: Any, v: Any) -> Any:
        return w * kept - size * m / (jnp.sqrt(v) / root + eps)

    return jax.tree.map(moved, p, first, second), {"first": first, "second": second, "steps": steps}


OPTIMIZERS: Final[dict[str, Update]] = {"SGD": sgd, "Adam": adam, "AdamW": partial(adam, decoupled=True)}


def at_first(optimizer: str, p: Any, options: Mapping[str, Any]) -> Any:
    """The optimizer's state before the first step."""
    zeros = partial(jax.tree.map, jnp.zeros_like)
    if optimizer == "SGD":
        return zeros(p) if options["momentum"] else None
    return {"first": zeros(p), "second": zeros(p), "steps": jnp.zeros((), jnp.float32)}


# -- training ----------------------------------------------------------------------------------------
class Training:
    """A workload, which ``begun`` holds on flambeau or PyTorch before its first step, in JAX."""

    def __init__(self, name: str, begun: workloads.Training):
        kind, options = type(begun.optimizer).__name__, begun.optimizer.param_groups[0]
        parameters = {key: _filters_last(_array(p)) for key, p in begun.model.named_parameters()}
        buffers = {key: _array(buffer) for key, buffer in begun.model.named_buffers()}
        self._state = parameters, buffers, at_first(kind, parameters, options)
        self._batch = _channels_last(_array(begun.x)), _array(begun.target)
        network, update = partial(NETWORKS[name], **begun.sizes), OPTIMIZERS[kind]

        def step(state: Any, x: Any, target: Any) -> tuple[Any, Any]:
            p, buffers, held = state

            def loss_of(p: Any) -> tuple[Any, Any]:
                logits, after = network(p, buffers, x)
                return cross_entropy(logits, target), after

            (loss, after), grads = jax.value_and_grad(loss_of, has_aux=True)(p)
            p, held = update(p, grads, held, options)
            return (p, after, held), loss

        self._step = jax.jit(step, donate_argnums=0)

    def step(self) -> float:
        """Train on the batch; the loss before that."""
        self._state, loss = self._step(self._state, *self._batch)
        return float(loss)


def _array(tensor: Any) -> Any:
    """A copy, since the memory of what is donated is written to; integers have 32 bits, as JAX has them."""
    value = tensor.detach().numpy()
    return jnp.array(value, jnp.int32 if value.dtype.kind == "i" else jnp.float32)


def _channels_last(x: Any) -> Any:
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def _filters_last(p: Any) -> Any:
    """Filters as (H, W, C, C')."""
    return p.transpose(2, 3, 1, 0) if p.ndim == 4 else p
