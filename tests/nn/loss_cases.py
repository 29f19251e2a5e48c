"""Cases of losses, distances, attention and images, in the torch API."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, OnInputs, on_inputs

CASES: dict[str, Case] = {}


case = on_inputs(CASES)


def reductions(name: str, fn: Any, label: str = "") -> None:
    """The loss with each reduction: ``fn(F, a, reduction)``."""
    for how in ("none", "mean", "sum"):
        case(f"{name}{label} {how}", lambda T, a, h=how: fn(T.nn.functional, a, h))


# -- regression ----------------------------------------------------------------------------------------
reductions("mse_loss", lambda F, a, h: F.mse_loss(a.x(3, 4), a.x(3, 4), reduction=h))
reductions("l1_loss", lambda F, a, h: F.l1_loss(a.x(3, 4), a.x(3, 4), reduction=h))
reductions("smooth_l1_loss", lambda F, a, h: F.smooth_l1_loss(a.x(3, 4), a.x(3, 4), reduction=h, beta=0.7))
reductions("huber_loss", lambda F, a, h: F.huber_loss(a.x(3, 4), a.x(3, 4), reduction=h, delta=0.7))
reductions(
    "gaussian_nll_loss",
    lambda F, a, h: F.gaussian_nll_loss(a.x(3, 4), a.x(3, 4), a.x(3, 4, low=0.2), True, reduction=h),
)
reductions(
    "poisson_nll_loss",
    lambda F, a, h: F.poisson_nll_loss(a.x(3, 4), a.x(3, 4, low=0.5, high=4, grad=False), full=True, reduction=h),
)
reductions(
    "poisson_nll_loss",
    lambda F, a, h: F.poisson_nll_loss(a.x(3, 4, low=0.1), a.x(3, 4, low=0.5), log_input=False, reduction=h),
    " rates",
)

# -- classes -------------------------------------------------------------------------------------------
reductions("nll_loss", lambda F, a, h: F.nll_loss(a.x(5, 4), a.ints(4, 5), reduction=h))
reductions(
    "nll_loss",
    lambda F, a, h: F.nll_loss(a.x(5, 4), a.ints(4, 5), a.x(4, low=0.1, grad=False), ignore_index=2, reduction=h),
    " weights",
)
reductions(
    "nll_loss",
    lambda F, a, h: F.nll_loss(a.x(2, 4, 3, 2), a.ints(4, 2, 3, 2), a.x(4, low=0.1, grad=False), reduction=h),
    " images",
)
case("nll_loss one", lambda T, a: T.nn.functional.nll_loss(a.x(4), T.tensor(2)))
reductions("cross_entropy", lambda F, a, h: F.cross_entropy(a.x(5, 4), a.ints(4, 5), reduction=h))
reductions(
    "cross_entropy",
    lambda F, a, h: F.cross_entropy(
        a.x(5, 4), a.ints(4, 5), a.x(4, low=0.1, grad=False), ignore_index=1, reduction=h, label_smoothing=0.2
    ),
    " smoothing",
)
reductions("cross_entropy", lambda F, a, h: F.cross_entropy(a.x(2, 4, 3), a.ints(4, 2, 3), reduction=h), " sequences")
reductions(
    "cross_entropy",
    lambda F, a, h: F.cross_entropy(
        a.x(5, 4), a.x(5, 4, low=0.1, grad=False), a.x(4, low=0.1, grad=False), reduction=h, label_smoothing=0.1
    ),
    " probabilities",
)
case("cross_entropy one", lambda T, a: T.nn.functional.cross_entropy(a.x(4), T.tensor(2)))
reductions(
    "binary_cross_entropy",
    lambda F, a, h: F.binary_cross_entropy(
        a.x(3, 4, low=0.05, high=0.95), a.x(3, 4, low=0.0, high=1.0, grad=False), reduction=h
    ),
)
reductions(
    "binary_cross_entropy",
    lambda F, a, h: F.binary_cross_entropy(
        a.x(3, 4, low=0.05, high=0.95), a.x(3, 4, low=0.0, high=1.0, grad=False), a.x(4, grad=False), reduction=h
    ),
    " weights",
)
reductions(
    "binary_cross_entropy_with_logits",
    lambda F, a, h: F.binary_cross_entropy_with_logits(a.x(3, 4), a.x(3, 4, low=0.0, high=1.0), reduction=h),
)
reductions(
    "binary_cross_entropy_with_logits",
    lambda F, a, h: F.binary_cross_entropy_with_logits(
        a.x(3, 4, low=-40, high=40), a.x(3, 4, low=0.0, high=1.0, grad=False), a.x(4, grad=False), reduction=h,
        pos_weight=a.x(4, low=0.5, grad=False),
    ),
    " weights",
)  # fmt: skip
for _how in ("none", "mean", "sum", "batchmean"):
    case(f"kl_div {_how}", lambda T, a, h=_how: T.nn.functional.kl_div(a.x(3, 4), a.x(3, 4, low=0.1), reduction=h))
case("kl_div log", lambda T, a: T.nn.functional.kl_div(a.x(3, 4), a.x(3, 4), reduction="sum", log_target=True))

# -- margins and distances -----------------------------------------------------------------------------


def _signs(T: Any, a: Any, *shape: int) -> Any:
    return a.ints(2, *shape) * 2 - 1


reductions("hinge_embedding_loss", lambda F, a, h: F.hinge_embedding_loss(a.x(3, 4), _signs(F, a, 3, 4), reduction=h))
reductions(
    "margin_ranking_loss", lambda F, a, h: F.margin_ranking_loss(a.x(7), a.x(7), _signs(F, a, 7), 0.3, reduction=h)
)
reductions("soft_margin_loss", lambda F, a, h: F.soft_margin_loss(a.x(3, 4), _signs(F, a, 3, 4), reduction=h))
reductions("multi_margin_loss", lambda F, a, h: F.multi_margin_loss(a.x(5, 4), a.ints(4, 5), reduction=h))
reductions(
    "multi_margin_loss",
    lambda F, a, h: F.multi_margin_loss(a.x(5, 4), a.ints(4, 5), 2, 0.5, a.x(4, low=0.1, grad=False), reduction=h),
    " squares",
)
case(
    "multilabel_margin_loss",
    lambda T, a: T.nn.functional.multilabel_margin_loss(a.x(2, 4), T.tensor([[3, 0, -1, 1], [1, -1, 2, 2]])),
)
reductions(
    "multilabel_soft_margin_loss",
    lambda F, a, h: F.multilabel_soft_margin_loss(a.x(3, 4), a.ints(2, 3, 4).double(), reduction=h),
)
reductions(
    "cosine_embedding_loss",
    lambda F, a, h: F.cosine_embedding_loss(a.x(5, 4), a.x(5, 4), _signs(F, a, 5), 0.1, reduction=h),
)
reductions(
    "triplet_margin_loss",
    lambda F, a, h: F.triplet_margin_loss(a.x(5, 4), a.x(5, 4), a.x(5, 4), 1.5, 2, swap=True, reduction=h),
)
case(
    "triplet_margin_with_distance_loss",
    lambda T, a: T.nn.functional.triplet_margin_with_distance_loss(
        a.x(5, 4), a.x(5, 4), a.x(5, 4), distance_function=lambda u, v: (u - v).abs().sum(-1)
    ),
)
case("cosine_similarity", lambda T, a: T.nn.functional.cosine_similarity(a.x(3, 4, 5), a.x(3, 4, 5), dim=1))
case("pairwise_distance", lambda T, a: T.nn.functional.pairwise_distance(a.x(3, 5), a.x(3, 5), p=3.0, keepdim=True))


def _ctc(how: str, **options: Any) -> OnInputs:
    def fn(T: Any, a: Any) -> Any:
        scores = T.nn.functional.log_softmax(a.x(8, 3, 5), 2)
        targets = a.ints(5, 3, 4, low=1)
        return T.nn.functional.ctc_loss(
            scores, targets, T.tensor([8, 6, 7]), T.tensor([4, 2, 3]), reduction=how, **options
        )

    return fn


for _how in ("none", "mean", "sum"):
    case(f"ctc_loss {_how}", _ctc(_how))
case("ctc_loss zero_infinity", _ctc("sum", zero_infinity=True))

# -- attention -----------------------------------------------------------------------------------------


def _qkv(a: Any, *lead: int, queries: int = 4, keys: int = 5) -> tuple[Any, Any, Any]:
    return a.x(*lead, queries, 6), a.x(*lead, keys, 6), a.x(*lead, keys, 3)


def _attention(lead: tuple[int, ...], mask: str = "", **options: Any) -> OnInputs:
    def fn(T: Any, a: Any) -> Any:
        q, k, v = _qkv(a, *lead)
        m = None
        if mask == "bool":
            m = a.bools(4, 5)
            m[:, 0] = True
        elif mask == "float":
            m = a.x(*lead[:1], 1, 4, 5)
        elif mask == "blind":
            m = a.bools(4, 5)
            m[1] = False
        return T.nn.functional.scaled_dot_product_attention(q, k, v, m, **options)

    return fn


case("attention", _attention((2, 3)))
case("attention causal", _attention((2, 3), is_causal=True))
case("attention scale", _attention((3,), scale=0.3))
case("attention bool mask", _attention((2, 3), "bool"))
case("attention float mask", _attention((2, 3), "float"))
case("attention blind query", _attention((2, 3), "blind"))
case(
    "attention grouped",
    lambda T, a: T.nn.functional.scaled_dot_product_attention(
        a.x(2, 6, 4, 5), a.x(2, 2, 3, 5), a.x(2, 2, 3, 5), enable_gqa=True
    ),
)

# -- images --------------------------------------------------------------------------------------------
for _mode, _shape in (
    ("nearest", (1, 2, 5)), ("nearest", (1, 2, 4, 5)), ("nearest-exact", (1, 2, 4, 5)), ("area", (1, 2, 4, 5)),
    ("linear", (1, 2, 5)), ("bilinear", (1, 2, 4, 5)), ("bicubic", (1, 2, 4, 5)), ("trilinear", (1, 1, 2, 3, 4)),
    ("nearest", (1, 1, 2, 3, 4)),
):  # fmt: skip
    _label = f"interpolate {_mode} {len(_shape) - 2}d"
    case(f"{_label} up", lambda T, a, m=_mode, s=_shape: T.nn.functional.interpolate(a.x(*s), scale_factor=1.7, mode=m))
    case(
        f"{_label} size",
        lambda T, a, m=_mode, s=_shape: T.nn.functional.interpolate(a.x(*s), size=[v - 1 for v in s[2:]], mode=m),
    )
    if _mode in ("linear", "bilinear", "bicubic", "trilinear"):
        case(
            f"{_label} corners",
            lambda T, a, m=_mode, s=_shape: T.nn.functional.interpolate(
                a.x(*s), size=[v + 2 for v in s[2:]], mode=m, align_corners=True
            ),
        )
case("pixel_shuffle", lambda T, a: T.nn.functional.pixel_shuffle(a.x(2, 8, 3, 4), 2))
case("pixel_unshuffle", lambda T, a: T.nn.functional.pixel_unshuffle(a.x(2, 2, 4, 6), 2))
case("channel_shuffle", lambda T, a: T.nn.functional.channel_shuffle(a.x(2, 6, 3, 2), 3))
for _padding in ("zeros", "border", "reflection"):
    for _mode in ("bilinear", "nearest"):
        for _corners in (True, False):
            case(
                f"grid_sample {_mode} {_padding} {_corners}",
                lambda T, a, m=_mode, p=_padding, c=_corners: T.nn.functional.grid_sample(
                    a.x(2, 3, 4, 5), a.x(2, 3, 4, 2, low=-1.6, high=1.6, grad=m != "nearest"), m, p, c
                ),
            )
case(
    "grid_sample 3d",
    lambda T, a: T.nn.functional.grid_sample(
        a.x(1, 2, 3, 4, 5), a.x(1, 2, 3, 2, 3, low=-1.2, high=1.2), align_corners=False
    ),
)
case("affine_grid", lambda T, a: T.nn.functional.affine_grid(a.x(2, 2, 3), (2, 3, 4, 5), align_corners=False))
case("affine_grid corners", lambda T, a: T.nn.functional.affine_grid(a.x(2, 2, 3), (2, 3, 4, 5), align_corners=True))
case("affine_grid 3d", lambda T, a: T.nn.functional.affine_grid(a.x(1, 3, 4), (1, 2, 2, 3, 4), align_corners=False))
for _mode in ("constant", "reflect", "replicate", "circular"):
    case(f"pad {_mode}", lambda T, a, m=_mode: T.nn.functional.pad(a.x(2, 3, 4, 5), (1, 2, 3, 1), mode=m))
