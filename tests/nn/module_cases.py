"""Cases of modules with given parameters, in the torch API."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, OnInputs, on_inputs

CASES: dict[str, Case] = {}


case = on_inputs(CASES)


def layer(name: str, make: Any, *shape: int) -> None:
    """A module of one input: ``make(nn)``."""
    case(name, lambda T, a: a.module(make(T.nn))(a.x(*shape)))


layer("Linear", lambda nn: nn.Linear(4, 3), 2, 5, 4)
layer("Conv1d circular", lambda nn: nn.Conv1d(2, 3, 3, padding=2, padding_mode="circular"), 2, 2, 7)
layer("Conv2d reflect", lambda nn: nn.Conv2d(2, 4, 3, padding=(1, 2), padding_mode="reflect", groups=2), 2, 2, 5, 6)
layer("Conv2d replicate same", lambda nn: nn.Conv2d(2, 3, (2, 4), padding="same", padding_mode="replicate"), 2, 2, 5, 6)
layer("Conv3d", lambda nn: nn.Conv3d(2, 3, 2, bias=False), 1, 2, 3, 4, 3)
case(
    "ConvTranspose2d size",
    lambda T, a: a.module(T.nn.ConvTranspose2d(2, 3, 3, 2, 1))(a.x(1, 2, 4, 5), output_size=(8, 9)),
)
layer("BatchNorm2d", lambda nn: nn.BatchNorm2d(3), 4, 3, 2, 2)
layer("BatchNorm1d eval", lambda nn: nn.BatchNorm1d(3).eval(), 4, 3)
layer("InstanceNorm2d", lambda nn: nn.InstanceNorm2d(3, affine=True), 2, 3, 4, 4)
layer("LayerNorm", lambda nn: nn.LayerNorm((3, 4)), 2, 3, 4)
layer("RMSNorm", lambda nn: nn.RMSNorm(4), 2, 3, 4)
layer("GroupNorm", lambda nn: nn.GroupNorm(2, 6), 2, 6, 3)
layer("PReLU", lambda nn: nn.PReLU(3), 2, 3, 4)
layer("Sequential", lambda nn: nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 2), nn.LogSoftmax(1)), 3, 4)
case("Bilinear", lambda T, a: a.module(T.nn.Bilinear(3, 4, 2))(a.x(5, 3), a.x(5, 4)))
case("Embedding", lambda T, a: a.module(T.nn.Embedding(6, 3, padding_idx=2))(a.ints(6, 2, 4)))
case("EmbeddingBag", lambda T, a: a.module(T.nn.EmbeddingBag(6, 3, mode="sum"))(a.ints(6, 2, 4)))


def _running(T: Any, a: Any) -> Any:
    """Running statistics over three batches, then evaluation."""
    norm = a.module(T.nn.BatchNorm1d(3, momentum=None))
    for _ in range(3):
        norm(a.x(4, 3, 5, grad=False))
    return norm.eval()(a.x(4, 3, 5)), norm.running_mean, norm.running_var, norm.num_batches_tracked


case("BatchNorm1d running", _running)

case("weight_norm", lambda T, a: a.module(T.nn.utils.parametrizations.weight_norm(T.nn.Conv1d(2, 3, 2)))(a.x(2, 2, 5)))
case(
    "weight_norm of all",
    lambda T, a: a.module(T.nn.utils.parametrizations.weight_norm(T.nn.Linear(4, 3), dim=None))(a.x(2, 4)),
)


def _spectral(T: Any, a: Any) -> Any:
    """Two steps of power iteration from given vectors."""
    module = a.module(T.nn.utils.parametrizations.spectral_norm(T.nn.ConvTranspose1d(2, 3, 2)))
    made = module.parametrizations.weight[0]
    made._u.copy_(a.x(3, grad=False))
    made._v.copy_(a.x(4, grad=False))
    return module(a.x(2, 2, 5)), module(a.x(2, 2, 5)), made._u, made._v


case("spectral_norm", _spectral)

# -- recurrent -----------------------------------------------------------------------------------------
_OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    " layers": {"num_layers": 2},
    " bidirectional": {"bidirectional": True, "num_layers": 2},
    " no bias": {"bias": False},
    " batch first": {"batch_first": True, "bidirectional": True},
}


def _recurrent(kind: str, states: bool, options: dict[str, Any]) -> OnInputs:
    def fn(T: Any, a: Any) -> Any:
        module = a.module(getattr(T.nn, kind)(3, 4, **options), 0.6)
        lead = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
        hx = a.x(lead, 2, options.get("proj_size") or 4) if states else None
        if states and kind == "LSTM":
            hx = (hx, a.x(lead, 2, 4))
        x = a.x(2, 5, 3) if options.get("batch_first") else a.x(5, 2, 3)
        return module(x, hx)

    return fn


for _kind in ("RNN", "LSTM", "GRU"):
    for _label, _chosen in _OPTIONS.items():
        case(f"{_kind}{_label}", _recurrent(_kind, _label == "", _chosen))
    case(f"{_kind} unbatched", lambda T, a, k=_kind: a.module(getattr(T.nn, k)(3, 4))(a.x(5, 3)))
    case(f"{_kind}Cell", lambda T, a, k=_kind: a.module(getattr(T.nn, f"{k}Cell")(3, 4))(a.x(2, 3)))
case("RNN relu", _recurrent("RNN", True, {"nonlinearity": "relu"}))
case("LSTM projection", _recurrent("LSTM", True, {"proj_size": 2, "num_layers": 2, "bidirectional": True}))
case("GRUCell unbatched", lambda T, a: a.module(T.nn.GRUCell(3, 4))(a.x(3), a.x(4)))


def _packed(kind: str, lengths: list[int], ordered: bool) -> OnInputs:
    def fn(T: Any, a: Any) -> Any:
        rnn = T.nn.utils.rnn
        module = a.module(getattr(T.nn, kind)(3, 4, num_layers=2, bidirectional=True), 0.6)
        packed = rnn.pack_padded_sequence(a.x(5, 3, 3), lengths, enforce_sorted=ordered)
        out, states = module(packed)
        padded, found = rnn.pad_packed_sequence(out)
        return packed.data, packed.batch_sizes, padded, found, states

    return fn


for _kind in ("RNN", "LSTM", "GRU"):
    case(f"{_kind} packed", _packed(_kind, [5, 3, 2], True))
    case(f"{_kind} packed unsorted", _packed(_kind, [2, 5, 3], False))

# -- attention -----------------------------------------------------------------------------------------


def _heads(options: dict[str, Any], call: Any = None, **sizes: int) -> OnInputs:
    """Self-attention, or of other keys and values where ``sizes`` says how wide they are."""

    def fn(T: Any, a: Any) -> Any:
        module = a.module(T.nn.MultiheadAttention(6, 2, **{**options, **{f"{k}dim": v for k, v in sizes.items()}}), 0.6)
        q = a.x(4, 3, 6)
        k, v = (a.x(5, 3, sizes["k"]), a.x(5, 3, sizes["v"])) if sizes else (q, q)
        return module(q, k, v, **(call(T, a) if call else {}))

    return fn


def _causal(T: Any) -> Any:
    return T.ones(4, 4).triu(1) > 0


case("MultiheadAttention", _heads({}))
case("MultiheadAttention no weights", _heads({}, lambda T, a: {"need_weights": False}))
case("MultiheadAttention batch first", _heads({"batch_first": True}))
case("MultiheadAttention other sizes", _heads({}, k=3, v=2))
case("MultiheadAttention no bias", _heads({"bias": False}))
case("MultiheadAttention extra keys", _heads({"add_bias_kv": True, "add_zero_attn": True}))
case("MultiheadAttention mask", _heads({}, lambda T, a: {"attn_mask": _causal(T)}))
case(
    "MultiheadAttention added mask", _heads({}, lambda T, a: {"attn_mask": a.x(6, 4, 4), "average_attn_weights": False})
)
case(
    "MultiheadAttention padding",
    _heads(
        {},
        lambda T, a: {
            "key_padding_mask": T.tensor([[False, False, True, True], [False] * 4, [False, True, False, False]])
        },
    ),
)
case(
    "MultiheadAttention unbatched",
    lambda T, a: (lambda m, x: m(x, x, x))(a.module(T.nn.MultiheadAttention(6, 3), 0.6), a.x(4, 6)),
)


def _encoder(**options: Any) -> OnInputs:
    def fn(T: Any, a: Any) -> Any:
        nn = T.nn
        inner = nn.TransformerEncoderLayer(6, 2, 8, 0.0, **options)
        return a.module(nn.TransformerEncoder(inner, 2, enable_nested_tensor=False), 0.5)(
            a.x(4, 3, 6), mask=_causal(T) if not options.get("batch_first") else None
        )

    return fn


case("TransformerEncoder", _encoder())
case("TransformerEncoder norm first", _encoder(norm_first=True, activation="gelu", batch_first=True))
case(
    "TransformerDecoder",
    lambda T, a: a.module(T.nn.TransformerDecoder(T.nn.TransformerDecoderLayer(6, 2, 8, 0.0), 2), 0.5)(
        a.x(4, 3, 6), a.x(5, 3, 6), tgt_mask=_causal(T)
    ),
)
case(
    "Transformer",
    lambda T, a: a.module(T.nn.Transformer(6, 2, 1, 1, 8, 0.0, norm_first=True), 0.5)(a.x(5, 2, 6), a.x(4, 2, 6)),
)

# -- the rest of the layers --------------------------------------------------------------------------------
for _name, _n, _arguments in (
    ("ZeroPad1d", 1, (2,)), ("ZeroPad2d", 2, ((1, 2, 0, 1),)), ("ConstantPad1d", 1, ((1, 2), 0.5)),
    ("ConstantPad3d", 3, (1, -0.5)), ("ReflectionPad1d", 1, ((2, 1),)), ("ReflectionPad2d", 2, (1,)),
    ("ReflectionPad3d", 3, (1,)), ("ReplicationPad2d", 2, ((1, 2, 3, 0),)), ("CircularPad2d", 2, ((1, 2, 2, 1),)),
    ("MaxPool2d", 2, (2,)), ("AvgPool3d", 3, (2,)), ("AdaptiveAvgPool2d", 2, ((2, None),)),
    ("AdaptiveMaxPool1d", 1, (3,)), ("LPPool2d", 2, (2, 2)), ("PixelShuffle", 2, (2,)), ("ChannelShuffle", 2, (2,)),
    ("UpsamplingNearest2d", 2, (None, 2)), ("UpsamplingBilinear2d", 2, (None, 2)), ("Unfold", 2, (2,)),
):  # fmt: skip
    case(
        _name,
        lambda T, a, name=_name, n=_n, arguments=_arguments: getattr(T.nn, name)(*arguments)(a.x(2, 4, *(5, 4, 3)[:n])),
    )
