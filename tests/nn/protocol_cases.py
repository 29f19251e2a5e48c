"""How a module's state goes in and out, in the torch API, as packages override and hook it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from tests.nn.models import filled
from tests.recorded import Case, collected

GIVEN: dict[str, Case] = {"log": lambda T: []}
CASES: dict[str, Case] = {
    "registries": lambda T: [
        sorted(k for k in vars(T.nn.Linear(1, 1)) if k in _NAMES),
        type(T.nn.ReLU()._forward_hooks) is OrderedDict,
    ],
    "versions": lambda T: [m._version for m in (T.nn.Linear(1, 1), T.nn.BatchNorm1d(1), T.nn.InstanceNorm1d(1))],
    "metadata": lambda T: {k: v["version"] for k, v in _net(T).state_dict()._metadata.items()},
    "no_init_arguments": lambda T: T.nn.Module(1),
    "no_init_options": lambda T: T.nn.Module(a=1),
    "transposed": lambda T: [T.nn.Conv1d(1, 1, 1).transposed, T.nn.ConvTranspose1d(1, 1, 1).transposed],
    "repeated_padding": lambda T: [
        list(T.nn.Conv2d(1, 1, (2, 4), padding=p, dilation=2)._reversed_padding_repeated_twice)
        for p in ((1, 2), "same", "valid")
    ],
    "factory_kwargs": lambda T: T.nn.factory_kwargs({"device": "cpu", "factory_kwargs": {"dtype": None}}),
    "factory_kwargs_wrong": lambda T: T.nn.factory_kwargs({"size": 1}),
    "container": lambda T: list(T.nn.Container(a=T.nn.ReLU())._modules),
}
_NAMES = {
    "_parameters", "_buffers", "_non_persistent_buffers_set", "_backward_pre_hooks", "_backward_hooks",
    "_is_full_backward_hook", "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_state_dict_hooks", "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks", "_modules", "training",
}  # fmt: skip
case = collected(CASES)


def _net(T: Any) -> Any:
    return filled(T, T.nn.Sequential(T.nn.Linear(2, 3), T.nn.BatchNorm1d(3), T.nn.Sequential(T.nn.Linear(3, 1))))


@case
def overridden(T: Any, log: Any) -> Any:
    class Renamed(T.nn.Linear):
        _version = 3

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            super()._save_to_state_dict(destination, prefix, keep_vars)
            destination[prefix + "kernel"] = destination.pop(prefix + "weight")

        def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors):
            log.append([prefix, local_metadata.get("version"), strict, sorted(state_dict)])
            state_dict[prefix + "weight"] = state_dict.pop(prefix + "kernel")
            super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)

    a, b = T.nn.Sequential(filled(T, Renamed(2, 1))), T.nn.Sequential(Renamed(2, 1))
    state = a.state_dict()
    b.load_state_dict(state)
    return [list(state), log, b[0].weight]


@case
def private_hooks(T: Any, log: Any) -> Any:
    net = _net(T)
    net._register_state_dict_hook(lambda m, s, prefix, meta: OrderedDict((f"x.{k}", v) for k, v in s.items()))
    state = net.state_dict()
    other = _net(T)
    other._register_load_state_dict_pre_hook(lambda s, prefix, *rest: log.append([prefix, len(rest)]))
    other[0]._register_load_state_dict_pre_hook(lambda m, s, prefix, *rest: log.append([prefix, sorted(s)]), True)
    other.register_load_state_dict_post_hook(lambda m, keys: log.append(len(keys.missing_keys)))
    keys = other.load_state_dict(state, strict=False)
    return [list(state), log, keys.missing_keys, keys.unexpected_keys]


@case
def post_hook_returns(T: Any) -> Any:
    net = _net(T)
    net.register_state_dict_post_hook(lambda m, s, prefix, meta: s)
    return net.state_dict()


@case
def in_place_of_strict(T: Any) -> Any:
    state = _net(T).state_dict()
    state["0.extra"] = state["9.weight"] = T.ones(1)
    del state["0.bias"]
    keys = _net(T).load_state_dict(state, strict=False)
    return [keys.missing_keys, keys.unexpected_keys]


@case
def not_strict(T: Any) -> Any:
    return _net(T).load_state_dict({"0.extra": T.ones(1)})


@case
def assigned(T: Any) -> Any:
    net, state = _net(T), {k: v.double() if v.is_floating_point() else v for k, v in _net(T).state_dict().items()}
    net[0].weight.requires_grad_(False)
    net.load_state_dict(state, assign=True)
    return [net[0].weight.dtype, net[0].weight.requires_grad, type(net[0].weight).__name__, net[1].running_mean.dtype]


@case
def norms_of_old(T: Any) -> Any:
    state = {k: v for k, v in T.nn.BatchNorm1d(2).state_dict().items() if k != "num_batches_tracked"}
    m = T.nn.BatchNorm1d(2)
    m.load_state_dict(state)
    return m.num_batches_tracked


@case
def by_position(T: Any) -> Any:
    found: dict[str, Any] = {}
    T.nn.Linear(1, 1).state_dict(found, "p.", True)
    return [list(found), found["p.weight"].requires_grad]


@case
def members(T: Any) -> Any:
    net = _net(T)
    return [name for name, _ in net._named_members(lambda m: m._parameters.items(), prefix="p")]


@case
def members_made_for_the_asking(T: Any) -> Any:
    return [[n, v.item()] for n, v in _net(T)._named_members(lambda m: [("made", T.tensor(float(len(vars(m)))) * 0)])]


@case
def mixins_are_reached(T: Any) -> Any:
    class Named(T.nn.Module):
        def __init__(self, name="given"):
            super().__init__()
            self.name = name

    kinds = {
        "ReLU": (), "Softmax": (1,), "Threshold": (0.0, 1.0), "MSELoss": (), "NLLLoss": (), "MaxPool2d": (2,),
        "Dropout": (0.5,), "Linear": (1, 1), "BatchNorm1d": (1,), "Sequential": (), "GRU": (1, 1), "Upsample": (2,),
    }  # fmt: skip
    return {n: type(f"Named{n}", (getattr(T.nn, n), Named), {})(*given).name for n, given in kinds.items()}


@case
def a_weight_of_a_recurrent_layer_that_is_no_parameter(T: Any) -> Any:
    m = filled(T, T.nn.GRU(2, 1))
    weight = m.weight_ih_l0.detach()
    del m.weight_ih_l0
    m.weight_ih_l0 = weight * 2
    return [m(T.ones(3, 1, 2))[0], len(list(m.parameters()))]


@case
def hooks_by_number(T: Any) -> Any:
    m = T.nn.ReLU()

    def hook(module, args, kwargs):
        return None

    handle = m.register_forward_pre_hook(hook, with_kwargs=True)
    found = [next(iter(m._forward_pre_hooks.values())) is hook, len(m._forward_pre_hooks_with_kwargs)]
    handle.remove()
    return [*found, len(m._forward_pre_hooks)]


@case
def hooks_of_old(T: Any, log: Any) -> Any:
    m = filled(T, T.nn.Sequential(T.nn.Linear(2, 2), T.nn.Tanh()))
    m.register_backward_hook(lambda mod, gi, go: log.append([len(gi), go[0].tolist()]))
    m(T.ones(1, 2)).sum().backward()
    return [log, m._is_full_backward_hook]


@case
def hooks_of_both_kinds(T: Any) -> Any:
    m = T.nn.ReLU()
    m.register_backward_hook(lambda *args: None)
    m.register_full_backward_hook(lambda *args: None)


@case
def registration_hooks(T: Any, log: Any) -> Any:
    where = T.nn.modules.module
    handles = [
        where.register_module_parameter_registration_hook(lambda m, n, p: log.append(["parameter", n])),
        where.register_module_buffer_registration_hook(lambda m, n, b: log.append(["buffer", n])),
        where.register_module_module_registration_hook(lambda m, n, c: log.append(["module", n])),
    ]
    m = T.nn.Sequential(T.nn.BatchNorm1d(1))
    m[0].running_mean = T.ones(1)
    for handle in handles:
        handle.remove()
    m.add_module("a", T.nn.ReLU())
    return log


@case
def next_init(T: Any) -> Any:
    class Named:
        def __init__(self, name):
            self.name = name

    class M(T.nn.Module, Named):
        call_super_init = True

    return M("a").name


@case
def own_convolution(T: Any) -> Any:
    base = type(T.nn.Conv2d(1, 1, 1)).__mro__[1]
    while "_ConvNd" not in base.__name__:
        base = base.__mro__[1]

    class Standardised(base):
        def __init__(self):
            super().__init__(2, 3, (2, 2), (1, 1), (0, 0), (1, 1), False, (0, 0), 1, True, "zeros")

        def forward(self, x):
            return T.nn.functional.conv2d(x, self.weight - self.weight.mean(), self.bias)

    m = filled(T, Standardised())
    return [m(T.ones(1, 2, 3, 3)), repr(m)]


@case
def own_convolution_forward(T: Any) -> Any:
    m = filled(T, T.nn.Conv2d(2, 3, 2, padding=1, padding_mode="reflect"))
    return m._conv_forward(T.ones(1, 2, 3, 3), m.weight * 2, None)


@case
def own_losses(T: Any) -> Any:
    loss, weighted = T.nn.MSELoss.__mro__[1], T.nn.NLLLoss.__mro__[1]
    while loss.__name__ != "_Loss":
        loss = loss.__mro__[1]
    while weighted.__name__ != "_WeightedLoss":
        weighted = weighted.__mro__[1]

    class Own(loss):
        def __init__(self, scale, **options):
            super().__init__(**options)
            self.scale = scale

        def forward(self, x, y):
            return (x - y).abs().sum() * self.scale

    class Other(weighted):
        def forward(self, x, y):
            return (x * self.weight).sum()

    own, other = Own(2.0, reduction="batchmean"), Other(T.ones(2), reduction="sum")
    return [own.reduction, own(T.ones(2), T.zeros(2)), list(other.state_dict()), other(T.ones(2), None), Own(
        1.0, size_average=False).reduction, isinstance(T.nn.CTCLoss(), loss)]  # fmt: skip


@case
def recurrent_names(T: Any) -> Any:
    m = T.nn.LSTM(2, 3, 2, bidirectional=True, proj_size=1)
    base = T.nn.LSTM.__mro__[1]
    return [
        m.mode, T.nn.RNN(1, 1, nonlinearity="relu").mode, m._flat_weights_names, m._all_weights, len(m._flat_weights),
        [len(row) for row in m.all_weights], base("GRU", 2, 3, bias=False)._flat_weights_names,
        m.get_expected_hidden_size(T.ones(4, 5, 2), None),
    ]  # fmt: skip


@case
def lstm_of_a_list(T: Any) -> Any:
    m = filled(T, T.nn.LSTM(2, 3))
    states = [T.ones(1, 1, 3), T.zeros(1, 1, 3)]
    return [m(T.ones(2, 1, 2), states)[0], filled(T, T.nn.LSTMCell(2, 3))(T.ones(1, 2), [s[0] for s in states])[0]]


@case
def lazy_states(T: Any) -> Any:
    a, b = T.nn.LazyConv2d(3, 2), T.nn.LazyBatchNorm1d()
    found = [
        repr(a.weight),
        T.nn.parameter.is_lazy(b.running_mean),
        [type(v).__name__ for v in b.state_dict().values()],
    ]
    a.load_state_dict(T.nn.Conv2d(2, 3, 2).state_dict())
    a(T.ones(1, 2, 4, 4))
    b(T.ones(2, 5))
    c = T.nn.LazyLinear(2)
    c.load_state_dict(T.nn.LazyLinear(2).state_dict())
    kinds = [type(a).__name__, type(b).__name__]
    return [*found, *kinds, b.num_features, c.has_uninitialized_params(), len(a._forward_pre_hooks)]


@case
def lazy_shape(T: Any) -> Any:
    return T.nn.LazyLinear(2).weight.shape


@case
def sync_norms(T: Any) -> Any:
    m = T.nn.SyncBatchNorm.convert_sync_batchnorm(_net(T))
    return [type(m[1]).__name__, list(m.state_dict()), m.eval()(T.ones(2, 2))]


@case
def distributed(T: Any) -> Any:
    return T.nn.parallel.DistributedDataParallel(T.nn.Linear(1, 1))


@case
def string_indices(T: Any) -> Any:
    layers, values = T.nn.ModuleList([T.nn.ReLU(), T.nn.Tanh()]), T.nn.ParameterList([T.ones(1), T.ones(1)])
    return [layers._get_abs_string_index(-1), layers._get_abs_string_index(0), values._get_abs_string_index(-2)]


@case
def overridden_blocks(T: Any) -> Any:
    class Plain(T.nn.TransformerEncoderLayer):
        def _sa_block(self, x, attn_mask, key_padding_mask, is_causal=False):
            return x * 2

        def _ff_block(self, x):
            return x * 3

    class Both(T.nn.TransformerDecoderLayer):
        def _mha_block(self, x, mem, attn_mask, key_padding_mask, is_causal=False):
            return mem

    layer = filled(T, Plain(4, 2, 8)).train()
    other = filled(T, Both(4, 2, 8, dropout=0.0))
    x = T.arange(12.0).reshape(3, 1, 4)
    return [layer(x), other(x, x * 2)]


@case
def merged_masks(T: Any) -> Any:
    m, x = T.nn.MultiheadAttention(4, 2, batch_first=True), T.ones(3, 2, 4)
    mask, padding = T.tensor([[0.0, 1.0], [2.0, 3.0]]), T.tensor([[0.0, 5.0]] * 3)
    return [m.merge_masks(None, None, x), m.merge_masks(mask, None, x)[1], list(m.merge_masks(mask, padding, x)),
            m.merge_masks(None, padding, x)[1]]  # fmt: skip
