"""What layers and losses compute, as functions with torch's signatures."""

from __future__ import annotations

# fmt: off
# isort: off
from flambeau.core.methods import named
from flambeau.core.blame import explain_imported
from flambeau.core.methods import give_homes
from flambeau.nn.functional import activation
from flambeau.nn.functional.activation import *  # noqa: F403 - as its __all__ says
from flambeau.nn.functional.attention import multi_head_attention_forward, scaled_dot_product_attention
from flambeau.nn.functional.conv import (
    conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, fold, unfold,
)
from flambeau.nn.functional.ctc import ctc_loss
from flambeau.nn.functional.dropout import (
    alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout,
)
from flambeau.nn.functional.fractional import (
    fractional_max_pool2d, fractional_max_pool2d_with_indices, fractional_max_pool3d,
    fractional_max_pool3d_with_indices,
)
from flambeau.nn.functional.linear import bilinear, embedding, embedding_bag, linear, one_hot
from flambeau.nn.functional.linear_loss import linear_cross_entropy
from flambeau.nn.functional.loss import (
    binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, gaussian_nll_loss, huber_loss, kl_div,
    l1_loss, mse_loss, nll_loss, poisson_nll_loss, smooth_l1_loss,
)
from flambeau.nn.functional.margin import (
    cosine_embedding_loss, cosine_similarity, hinge_embedding_loss, margin_ranking_loss, multi_margin_loss,
    multilabel_margin_loss, multilabel_soft_margin_loss, pairwise_distance, soft_margin_loss, triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from flambeau.nn.functional.more import (
    celu_, conv_tbc, elu_, hardtanh_, leaky_relu_, native_channel_shuffle, pdist, rrelu_, selu_, threshold_,
    upsample_bilinear, upsample_nearest,
)
from flambeau.nn.functional.norm import batch_norm, group_norm, instance_norm, layer_norm, local_response_norm, rms_norm
from flambeau.nn.functional.pooling import (
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_max_pool1d,
    adaptive_max_pool1d_with_indices, adaptive_max_pool2d, adaptive_max_pool2d_with_indices, adaptive_max_pool3d,
    adaptive_max_pool3d_with_indices, avg_pool1d, avg_pool2d, avg_pool3d, lp_pool1d, lp_pool2d, lp_pool3d, max_pool1d,
    max_pool1d_with_indices, max_pool2d, max_pool2d_with_indices, max_pool3d, max_pool3d_with_indices, max_unpool1d,
    max_unpool2d, max_unpool3d,
)
from flambeau.nn.functional.scaled import ScalingType, SwizzleType, grouped_mm, scaled_grouped_mm, scaled_mm
from flambeau.nn.functional.vision import (
    affine_grid, channel_shuffle, grid_sample, interpolate, pad, pixel_shuffle, pixel_unshuffle,
)
# isort: on
# fmt: on

upsample = named("upsample", interpolate)

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "affine_grid", "alpha_dropout", "avg_pool1d", "avg_pool2d", "avg_pool3d", "batch_norm",
    "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits", "channel_shuffle", "conv1d", "conv2d",
    "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cosine_embedding_loss", "cosine_similarity",
    "cross_entropy", "ctc_loss", "dropout", "dropout1d", "dropout2d", "dropout3d", "embedding", "embedding_bag",
    "feature_alpha_dropout", "fold", "gaussian_nll_loss", "grid_sample", "group_norm", "hinge_embedding_loss",
    "huber_loss", "instance_norm", "interpolate", "kl_div", "l1_loss", "layer_norm", "linear", "local_response_norm",
    "lp_pool1d", "lp_pool2d", "lp_pool3d", "margin_ranking_loss", "max_pool1d", "max_pool1d_with_indices", "max_pool2d",
    "max_pool2d_with_indices", "max_pool3d", "max_pool3d_with_indices", "max_unpool1d", "max_unpool2d", "max_unpool3d",
    "mse_loss", "multi_head_attention_forward", "multi_margin_loss", "multilabel_margin_loss",
    "multilabel_soft_margin_loss", "nll_loss", "one_hot", "pad", "pairwise_distance", "pixel_shuffle",
    "pixel_unshuffle", "poisson_nll_loss", "rms_norm", "scaled_dot_product_attention", "smooth_l1_loss",
    "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss", "unfold", "upsample",
]  # fmt: skip
__all__ += [
    "ScalingType",
    "SwizzleType",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d_with_indices",
    "celu_",
    "conv_tbc",
    "elu_",
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
    "grouped_mm",
    "hardtanh_",
    "leaky_relu_",
    "linear_cross_entropy",
    "native_channel_shuffle",
    "pdist",
    "rrelu_",
    "scaled_grouped_mm",
    "scaled_mm",
    "selu_",
    "threshold_",
    "upsample_bilinear",
    "upsample_nearest",
]  # fmt: skip
__all__ += activation.__all__

explain_imported(globals())
give_homes(__name__, {name: globals()[name] for name in __all__})
