"""The functions of layers and losses that stand in flambeau's own namespace too: ``flambeau.conv2d`` and the like.

Those that torch has under one name with other arguments in ``torch`` and ``torch.nn.functional`` (``batch_norm``,
``embedding``, the losses, whose ``reduction`` is a number there) are written here; the others are the same function.
"""

from __future__ import annotations

# fmt: off
from flambeau.core.blame import explain_imported
from flambeau.core.methods import give_homes
from flambeau.nn.functional.conv import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from flambeau.nn.functional.linear import bilinear
from flambeau.nn.functional.margin import cosine_similarity, pairwise_distance
from flambeau.nn.functional.more import celu_, conv_tbc, native_channel_shuffle, selu_, threshold_
from flambeau.nn.functional.norm import rms_norm
from flambeau.nn.functional.pooling import (
    adaptive_avg_pool1d,
    avg_pool1d,
    max_pool1d,
    max_pool1d_with_indices,
    max_pool2d,
    max_pool3d,
)
from flambeau.nn.functional.recurrent import gru_cell, lstm_cell, rnn_relu_cell, rnn_tanh_cell
from flambeau.nn.functional.vision import channel_shuffle, pixel_shuffle, pixel_unshuffle
from flambeau.nn.native.activation import celu, rrelu, rrelu_, selu, threshold
from flambeau.nn.native.dropout import (
    alpha_dropout,
    alpha_dropout_,
    dropout,
    dropout_,
    feature_alpha_dropout,
    feature_alpha_dropout_,
    feature_dropout,
    feature_dropout_,
    native_dropout,
)
from flambeau.nn.native.embedding import embedding, embedding_bag, embedding_renorm_
from flambeau.nn.native.loss import (
    binary_cross_entropy_with_logits,
    cosine_embedding_loss,
    ctc_loss,
    hinge_embedding_loss,
    kl_div,
    margin_ranking_loss,
    poisson_nll_loss,
    triplet_margin_loss,
)
from flambeau.nn.native.norm import (
    batch_norm,
    batch_norm_elemt,
    batch_norm_gather_stats,
    batch_norm_gather_stats_with_counts,
    batch_norm_stats,
    group_norm,
    instance_norm,
    layer_norm,
    native_batch_norm,
    native_group_norm,
    native_layer_norm,
    norm_except_dim,
)
from flambeau.nn.native.recurrent import gru, lstm, rnn_relu, rnn_tanh
from flambeau.nn.native.spatial import (
    adaptive_max_pool1d,
    affine_grid_generator,
    constant_pad_nd,
    convolution,
    grid_sampler,
    grid_sampler_2d,
    grid_sampler_3d,
)

__all__ = [
    "adaptive_avg_pool1d", "adaptive_max_pool1d", "affine_grid_generator", "alpha_dropout", "alpha_dropout_",
    "avg_pool1d", "batch_norm", "batch_norm_elemt", "batch_norm_gather_stats", "batch_norm_gather_stats_with_counts",
    "batch_norm_stats", "bilinear", "binary_cross_entropy_with_logits", "celu", "celu_", "channel_shuffle",
    "constant_pad_nd", "conv1d", "conv2d", "conv3d", "conv_tbc", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "convolution", "cosine_embedding_loss", "cosine_similarity", "ctc_loss", "dropout", "dropout_",
    "embedding", "embedding_bag", "embedding_renorm_", "feature_alpha_dropout", "feature_alpha_dropout_",
    "feature_dropout", "feature_dropout_", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d", "group_norm", "gru",
    "gru_cell", "hinge_embedding_loss", "instance_norm", "kl_div", "layer_norm", "lstm", "lstm_cell",
    "margin_ranking_loss", "max_pool1d", "max_pool1d_with_indices", "max_pool2d", "max_pool3d", "native_batch_norm",
    "native_channel_shuffle", "native_dropout", "native_group_norm", "native_layer_norm", "norm_except_dim",
    "pairwise_distance", "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss", "rms_norm", "rnn_relu",
    "rnn_relu_cell", "rnn_tanh", "rnn_tanh_cell", "rrelu", "rrelu_", "selu", "selu_", "threshold", "threshold_",
    "triplet_margin_loss",
]
# fmt: on

explain_imported(globals())
give_homes(__name__, {name: globals()[name] for name in __all__})
