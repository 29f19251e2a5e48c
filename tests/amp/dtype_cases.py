"""The dtypes that calls give under autocast: on the host, and on an accelerator, where PyTorch has another list.

Each call runs on tensors of float32, and on those of the lower dtype, as another op leaves them. On PyTorch the
accelerator is one without values, of type cuda; on flambeau any device other than the host's will do.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.recorded import Case

#: What calls are made of: shape by name, floats that are positive and of which matrices can be inverted.
SHAPES = {
    "x": (3, 3), "y": (3, 3), "v": (3,), "s": (), "b": (2, 3, 3), "line": (2, 3, 8), "image": (2, 3, 8, 8),
    "volume": (1, 2, 6, 6, 6), "row": (3,), "grid": (2, 4, 4, 2), "k1": (4, 3, 3), "k2": (4, 3, 3, 3),
    "k3": (4, 2, 3, 3, 3), "heads": (1, 2, 4, 8), "ctc_in": (4, 2, 3), "tbc": (1, 8, 4), "w4": (4,), "w1": (1,),
    "one_b": (1, 3, 3), "theta": (2, 2, 3), "signal": (8,), "part": (2, 3), "part_of_one": (1, 3),
}  # fmt: skip
INDICES = {
    "classes": [0, 1, 2], "wide_classes": [[0, 1, -1]] * 3, "ctc_to": [[1, 2], [1, 1]], "two": [0, 2], "zero": [0],
    "fours": [4, 4], "twos": [2, 2],
}  # fmt: skip

PRODUCTS = """
x @ y; T.matmul(x, v); T.mm(x, y); T.mv(x, v); T.bmm(b, b); T.dot(v, v); T.vdot(v, v); T.inner(x, y); T.outer(v, v)
T.addmm(x, x, y); T.addmv(v, x, v); T.addr(x, v, v); T.addbmm(x, b, b); T.baddbmm(b, b, b)
T.einsum('ij,jk->ik', x, y); T.einsum('ii', x); T.tensordot(x, y, 1); T.chain_matmul(x, y, x)
T.linalg.multi_dot([x, y, x]); T.linalg.vecdot(x, y); T.linalg.matmul(x, y); T.kron(x, y); T.cross(x, y, dim=1)
T.linalg.cross(x, y); T.cdist(x, y); T.dist(x, y); T.matrix_power(x, 2); T.linalg.matrix_power(x, 2); F.linear(x, y)
F.linear(x, y, v); F.bilinear(x, y, one_b, w1); T.trace(x); T.ger(v, v); x.addmm(x, y); x.matmul(y)
F.pairwise_distance(x, y); F.cosine_similarity(x, y); T.renorm(x, 2, 0, 1.0); T.linalg.norm(x)
T.linalg.vector_norm(x); T.linalg.matrix_norm(x); T.norm(x); T.norm(x, 2, 1); T.norm(x, 1); x.norm()
"""
ELEMENTWISE = """
T.exp(x); T.exp2(x); T.expm1(x); T.log(x); T.log2(x); T.log10(x); T.log1p(x); T.sqrt(x); T.rsqrt(x); T.reciprocal(x)
x ** 2; x ** y; 2 ** x; T.pow(x, 2.5); x.square(); T.sin(x); T.cos(x); T.tan(x); T.asin(x); T.acos(x / 9); T.atan(x)
T.sinh(x); T.cosh(x); T.tanh(x); T.asinh(x); T.acosh(x); T.atanh(x); T.erf(x); T.erfc(x); T.erfinv(x / 9)
T.sigmoid(x); T.logit(x / 9); T.special.expit(x); T.special.xlog1py(x, y); T.lgamma(x); T.digamma(x); T.atan2(x, y)
T.hypot(x, y); T.abs(x); T.neg(x); T.sign(x); T.floor(x); T.round(x); T.frac(x); T.clamp(x, 0, 1); T.addcmul(x, x, y)
T.addcdiv(x, x, y); T.lerp(x, y, 0.5); x + y; x - y; x * y; x / y; x // y; x % y; x + 1; x * 2.5; x < y
T.where(x > y, x, y); T.maximum(x, y); T.logaddexp(x, y); T.nan_to_num(x); T.special.entr(x); T.special.ndtr(x)
T.i0(x); T.sinc(x); T.deg2rad(x); T.xlogy(x, y); T.mvlgamma(x + 3, 2); T.polygamma(1, x); T.special.log_softmax(x, 0)
T.special.softmax(x, 0); T.copysign(x, y); T.igamma(x, y); x.exp(); x.pow(2); T.logical_not(x)
"""
REDUCTIONS = """
T.sum(x); T.sum(x, 1); x.sum(); x.sum(dim=0, keepdim=True); T.mean(x); x.mean(0); T.prod(x); T.prod(x, 1)
T.cumsum(x, 0); T.cumprod(x, 0); T.logcumsumexp(x, 0); T.logsumexp(x, 0); T.std(x); T.var(x); T.std_mean(x)
T.var_mean(x, 0); T.amax(x); T.max(x); T.max(x, 0); T.min(x, 1); T.median(x); T.median(x, 0); T.nansum(x)
T.nanmean(x); T.softmax(x, 0); T.log_softmax(x, 0); x.softmax(-1); x.log_softmax(-1); T.cummax(x, 0); T.sort(x)
T.topk(x, 2); T.argmax(x); T.aminmax(x); T.mode(x); T.kthvalue(x, 1); T.all(x); T.any(x, 0); T.count_nonzero(x)
T.trapezoid(x); T.cumulative_trapezoid(x); T.diff(x); T.histc(x); T.sum(x, dtype=T.bfloat16)
T.softmax(x, 0, dtype=T.float32); T.softmax(x, 0, dtype=T.float16); T.prod(x, dtype=T.float16); T.sum(x > 1)
T.cumsum(x > 1, 0)
"""
SHAPE = """
T.cat([x, y]); T.stack([x, y]); T.hstack([x, y]); T.block_diag(x, y); T.tril(x); x.reshape(9); x.t(); x.clone()
x.contiguous(); x.float(); x.flip(0); T.roll(x, 1); x.index_select(0, two); T.index_copy(x, 0, two, part)
T.scatter_add(x, 0, T.zeros(3, 3, dtype=T.int64, device=x.device), y); T.index_put(x, (zero,), part_of_one)
T.gather(x, 0, T.zeros(3, 3, dtype=T.int64, device=x.device)); T.masked_fill(x, x > 1, 0.0)
T.meshgrid(v, v, indexing='ij'); T.zeros_like(x); T.ones_like(x); T.rand_like(x); T.full_like(x, 2)
T.linspace(0, 1, 3, device=x.device); T.bernoulli(x / 9); T.diag(x); T.diagonal(x); T.searchsorted(v, v)
T.bucketize(x, v); x.expand(2, 3, 3); T.vander(v); x.view_as(y); x.repeat(2, 1); x.unfold(0, 2, 1); T.take(x, zero)
"""
ACTIVATIONS = """
F.relu(x); F.relu6(x); F.gelu(x); F.gelu(x, approximate='tanh'); F.silu(x); F.mish(x); F.elu(x); F.selu(x); F.celu(x)
F.leaky_relu(x); F.prelu(x, row); F.hardtanh(x); F.hardsigmoid(x); F.hardswish(x); F.softplus(x); F.softsign(x)
F.softshrink(x); F.hardshrink(x); F.tanhshrink(x); F.logsigmoid(x); F.threshold(x, 0, 0); F.glu(line); F.softmax(x, 0)
F.log_softmax(x, 0); F.softmin(x, 0); F.gumbel_softmax(x); F.normalize(x); F.dropout(x); F.dropout(x, training=False)
F.alpha_dropout(x, training=True); F.feature_alpha_dropout(image, training=True); F.dropout2d(image)
"""
NORMS = """
F.layer_norm(x, (3,)); F.layer_norm(x, (3,), w, w); F.layer_norm(low, (3,), w, w); F.group_norm(line, 3)
F.group_norm(line, 3, w, w); F.group_norm(low_line, 3, w, w); F.rms_norm(x, (3,)); F.rms_norm(low, (3,), w)
F.batch_norm(line, w, w); F.batch_norm(low_line, w, w, w, w); F.batch_norm(low_line, None, None, training=True)
F.instance_norm(line); F.instance_norm(low_line, weight=w, bias=w); F.local_response_norm(line, 2)
"""
IMAGES = """
F.conv1d(line, k1); F.conv2d(image, k2); F.conv2d(image, k2, w4, padding=1, stride=2); F.conv3d(volume, k3)
F.conv_transpose1d(line, k1.transpose(0, 1)); F.conv_transpose2d(image, k2.transpose(0, 1))
F.conv_transpose3d(volume, k3.transpose(0, 1)); F.conv_tbc(line, tbc, w4)
F.fold(T.ones(1, 4, 9, device=x.device, dtype=x.dtype), (4, 4), 2); F.max_pool1d(line, 2); F.max_pool2d(image, 2)
F.max_pool3d(volume, 2); F.avg_pool1d(line, 2); F.avg_pool2d(image, 2); F.avg_pool3d(volume, 2)
F.adaptive_avg_pool1d(line, 2); F.adaptive_avg_pool2d(image, 2); F.adaptive_avg_pool3d(volume, 2)
F.adaptive_max_pool1d(line, 2); F.adaptive_max_pool2d(image, 2); F.adaptive_max_pool3d(volume, 2)
F.lp_pool2d(image, 2, 2); F.fractional_max_pool2d(image, 2, output_size=(3, 3))
F.fractional_max_pool3d(volume, 2, output_size=(3, 3, 3))
F.max_unpool2d(*F.max_pool2d(image, 2, return_indices=True), 2)
F.max_unpool3d(*F.max_pool3d(volume, 2, return_indices=True), 2); F.interpolate(image, scale_factor=2)
F.interpolate(image, scale_factor=2, mode='bilinear'); F.interpolate(line, scale_factor=2, mode='linear')
F.interpolate(image, scale_factor=2, mode='bicubic'); F.interpolate(volume, scale_factor=2, mode='trilinear')
F.interpolate(image, scale_factor=2, mode='nearest-exact'); F.interpolate(image, size=(4, 4), mode='area')
F.pad(image, (1, 1)); F.pad(image, (1, 1, 1, 1), mode='reflect'); F.pad(line, (1, 1), mode='reflect')
F.pad(line, (1, 1), mode='replicate'); F.pad(image, (1, 1, 1, 1), mode='replicate')
F.pad(image, (1, 1, 1, 1), mode='circular'); F.pad(volume, (1, 1, 1, 1, 1, 1), mode='replicate')
F.pad(volume, (1, 1, 1, 1, 1, 1), mode='reflect'); F.pixel_shuffle(volume.reshape(1, 12, 6, 6), 2)
F.channel_shuffle(signal.reshape(1, 4, 1, 2), 2)
"""
LOSSES = """
F.mse_loss(x, y); F.l1_loss(x, y); F.smooth_l1_loss(x, y); F.huber_loss(x, y)
F.cross_entropy(x, classes); F.cross_entropy(x, classes, weight=w); F.cross_entropy(x, y)
F.cross_entropy(x, classes, reduction='none'); F.cross_entropy(x, classes, label_smoothing=0.1)
F.nll_loss(x, classes); F.nll_loss(image, T.zeros(2, 8, 8, dtype=T.int64, device=x.device)); F.kl_div(x, y)
F.kl_div(x, y, reduction='batchmean'); F.binary_cross_entropy_with_logits(x, y)
F.binary_cross_entropy_with_logits(low, w33); F.binary_cross_entropy(x / 9, y / 9); F.poisson_nll_loss(x, y)
F.hinge_embedding_loss(x, y.sign()); F.margin_ranking_loss(v, v, v.sign()); F.soft_margin_loss(x, y.sign())
F.multi_margin_loss(x, classes); F.multilabel_margin_loss(x, wide_classes); F.multilabel_soft_margin_loss(x, y)
F.cosine_embedding_loss(x, y, v.sign()); F.triplet_margin_loss(x, y, x + 1)
F.triplet_margin_with_distance_loss(x, y, x + 1)
"""
LAYERS = """
F.embedding(classes, x); F.embedding_bag(classes.view(1, 3), x); F.scaled_dot_product_attention(heads, heads, heads)
F.scaled_dot_product_attention(heads, heads, heads, is_causal=True)
F.scaled_dot_product_attention(low_heads, low_heads, w_heads)
"""
#: Of tensors of both dtypes: those called w are of float32, those called low of the lower dtype.
MIXED = """
low @ w33; T.mm(w33, low); T.bmm(b, low_b); T.mv(low, w); T.addmm(w33, low, w33); T.addmm(low, w33, w33)
F.linear(low, w33, w); T.baddbmm(b, low_b, b); T.einsum('ij,jk->ik', low, w33); T.linalg.vecdot(low, w33)
T.cat([low, w33]); T.stack([w33, low]); low + w33; low * w33
T.where(x > 1, low, w33); T.maximum(low, w33); T.atan2(low, w33); T.addcmul(w33, low, low); T.addcmul(low, low, low)
T.cdist(low, w33); T.dist(low, w33); low ** w33; F.conv2d(low_image, k2, w4); F.prelu(low, w)
F.cosine_similarity(low, w33); F.pairwise_distance(low, w33); F.mse_loss(low, w33)
F.smooth_l1_loss(low, w33); F.huber_loss(low, w33); F.kl_div(low, w33)
F.cross_entropy(low, w33); F.cross_entropy(low, classes, weight=w); F.nll_loss(low, classes, weight=w)
F.poisson_nll_loss(low, w33); F.soft_margin_loss(low, w33); F.hinge_embedding_loss(low, w33)
F.triplet_margin_loss(low, w33, low); F.cosine_embedding_loss(low, w33, w); F.bilinear(low, w33, one_b, w1)
F.scaled_dot_product_attention(low_heads, w_heads, low_heads); T.cross(low, w33, dim=1)
"""
#: Of these PyTorch has words for the CPU alone, or its accelerator without values does not run them.
HOST = """
T.linalg.inv(x); T.inverse(x); T.pinverse(x); T.linalg.solve(x, y); T.linalg.cholesky(spd); T.cholesky(spd)
T.cholesky_inverse(spd); T.linalg.qr(x); T.cholesky_solve(y, spd); T.qr(x); T.linalg.svd(x); T.svd(x)
T.linalg.svdvals(x); T.linalg.eigh(spd); T.linalg.eigvalsh(spd); T.linalg.eig(x); T.linalg.eigvals(x)
T.linalg.lstsq(x, y); T.linalg.cond(x); T.linalg.matrix_rank(x); T.triangular_solve(y, x); T.geqrf(x)
T.linalg.cholesky_ex(spd); T.linalg.inv_ex(x); T.lu(x); T.linalg.householder_product(x, v); T.orgqr(x, v)
T.ormqr(x, v, y); T.linalg.tensorinv(x, 1); T.linalg.tensorsolve(x, v); T.lu_solve(y, *T.linalg.lu_factor(x.float()))
T.fft.fft(line); T.fft.rfft(line); T.fft.ifft(line); T.fft.fft2(line); T.fft.irfft(line); T.fft.hfft(line)
T.fft.ihfft(line); T.fft.rfftn(line); T.fft.fftn(line); T.fft.fftshift(line)
T.stft(signal, 4, window=T.ones(4, device=x.device), return_complex=True); T.gradient(v); T.polar(x, y)
T.fake_quantize_per_tensor_affine(x, 0.1, 0, 0, 255); T.quantile(x, 0.5); T.nanquantile(x, 0.5, 0)
T.view_as_complex(grid); F.batch_norm(line, w.clone(), w.clone(), w, w, training=True)
F.batch_norm(low_line, w.clone(), w.clone(), w, w, training=True); F.grid_sample(image, grid, align_corners=False)
F.grid_sample(low_image, w_grid, align_corners=False); F.affine_grid(theta, (2, 3, 4, 4), align_corners=False)
F.ctc_loss(ctc_in, ctc_to, fours, twos)
"""
#: Layers with parameters of float32.
MODULES = """
T.nn.RNNCell(3, 4, nonlinearity='relu')(x); F.max_pool3d_with_indices(volume, 2); F.max_pool2d_with_indices(image, 2)
F.adaptive_max_pool3d_with_indices(volume, 2)
T.nn.LSTM(3, 4)(b); T.nn.GRU(3, 4)(b); T.nn.RNN(3, 4)(b); T.nn.LSTMCell(3, 4)(x); T.nn.GRUCell(3, 4)(x)
T.nn.RNNCell(3, 4)(x); T.nn.LSTM(3, 4, proj_size=2)(b); T.nn.GRU(3, 4, num_layers=2, bidirectional=True)(b)
T.nn.MultiheadAttention(3, 1)(b, b, b); T.nn.MultiheadAttention(3, 1)(b, b, b, need_weights=False)
T.nn.TransformerEncoderLayer(3, 1, 4)(b); T.nn.TransformerDecoderLayer(3, 1, 4)(b, b); T.nn.Linear(3, 2)(x)
T.nn.Bilinear(3, 3, 2)(x, y); T.nn.Conv2d(3, 2, 3)(image); T.nn.ConvTranspose2d(3, 2, 3)(image); T.nn.PReLU()(x)
T.nn.BatchNorm2d(3)(image); T.nn.BatchNorm2d(3).eval()(image); T.nn.LayerNorm(3)(x); T.nn.GroupNorm(3, 3)(image)
T.nn.InstanceNorm2d(3, affine=True)(image); T.nn.Embedding(3, 2)(classes); T.nn.CrossEntropyLoss()(x, classes)
"""
#: And of these, what it runs in float32 alone.
HOST_FLOAT32 = """
T.linalg.det(x); T.linalg.slogdet(x); T.logdet(x); T.det(x); T.linalg.solve_triangular(x, y, upper=True)
T.linalg.lu_factor(x); T.linalg.norm(x, 'nuc'); T.linalg.matrix_norm(x, 2); T.norm(x, 'nuc'); T.linalg.lu(x)
T.linalg.ldl_factor(spd); T.fft.ihfft2(line); T.fft.hfft2(line)
F.interpolate(image, size=(4, 4), mode='bilinear', antialias=True); T.pdist(x)
"""
GROUPS = (MIXED, PRODUCTS, ELEMENTWISE, REDUCTIONS, SHAPE, ACTIVATIONS, NORMS, IMAGES, LOSSES, LAYERS)


def texts(group: str) -> list[str]:
    return [t.strip() for line in group.strip().split("\n") for t in line.split("; ")]


class Inputs(dict[str, Any]):
    """The names in a case's text: tensors of ``dtype``, and in other dtypes whatever it is."""

    def __init__(self, T: Any, device: str, dtype: Any, low: Any, text: str):
        super().__init__(T=T, F=T.nn.functional)
        named = set(re.findall(r"\w+", text))  # the others are not made

        def of(values: Any, dtype: Any = T.float32) -> Any:
            if T.__name__ == "torch" and device == "cuda":  # a tensor without values
                return T.empty(np.shape(values), device=device, dtype=dtype)
            return T.tensor(values, device=device, dtype=dtype)

        for name in named & INDICES.keys():
            self[name] = of(INDICES[name], T.int64)
        for name in named & SHAPES.keys():
            self[name] = of(_values(SHAPES[name]), dtype)
        if "spd" in named:
            self["spd"] = of(np.eye(3, dtype=np.float32) * 4 + 0.25, dtype)
        others = {"w": ((3,), T.float32), "w33": ((3, 3), T.float32), "low": ((3, 3), low)}
        others |= {f"low_{name}": (SHAPES[name], low) for name in ("b", "line", "image", "heads")}
        others |= {f"w_{name}": (SHAPES[name], T.float32) for name in ("heads", "grid")}
        for name in named & others.keys():
            shape, other = others[name]
            self[name] = of(_values(shape), other)


def _values(shape: tuple[int, ...]) -> Any:
    values = np.linspace(0.5, 3.0, int(np.prod(shape, dtype=int)), dtype=np.float32).reshape(shape)
    if len(shape) > 1 and shape[-1] == shape[-2]:
        values = values + 4 * np.eye(shape[-1], dtype=np.float32)
    return values


def dtypes(value: Any) -> Any:
    """The dtypes of what a call gave."""
    if hasattr(value, "dtype"):
        return str(value.dtype).split(".")[-1]
    if isinstance(value, (list, tuple)):
        return [dtypes(v) for v in value]
    return type(value).__name__


@contextlib.contextmanager
def on(T: Any, device: str) -> Iterator[None]:
    """Autocast on a device; PyTorch's accelerator is not there, so that its context manager would not be on."""
    if T.__name__ == "torch" and device == "cuda":
        fake = importlib.import_module("torch._subclasses.fake_tensor").FakeTensorMode(allow_non_fake_inputs=True)
        with fake:
            T.set_autocast_enabled("cuda", True)
            try:
                yield
            finally:
                T.set_autocast_enabled("cuda", False)
    else:
        with T.autocast(device, dtype=T.bfloat16 if device == "cpu" else T.float16):
            yield


def answer(T: Any, text: str, device: str, lower: bool) -> Any:
    """The dtypes that one call gives."""
    low = T.bfloat16 if device == "cpu" else T.float16
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with on(T, device):
            with T.autocast(device, enabled=False) if device == "cpu" else contextlib.nullcontext():
                inputs = Inputs(T, device, low if lower else T.float32, low, text)
            return dtypes(eval(text, inputs))


def accelerator_of(T: Any) -> str:
    return "cuda" if T.__name__ == "torch" else "strict"


def case(text: str, where: Callable[[Any], str], lower: bool) -> Case:
    return lambda T: answer(T, text, where(T), lower)


CASES: dict[str, Case] = {}
for _group in (*GROUPS, HOST, MODULES, HOST_FLOAT32):
    for _text in texts(_group):
        for _lower in (False,) if _group in (MIXED, HOST_FLOAT32) else (False, True):
            _of = "lower" if _lower else "float32"
            CASES[f"host {_of}: {_text}"] = case(_text, lambda T: "cpu", _lower)
            if _group in GROUPS:
                CASES[f"accelerator {_of}: {_text}"] = case(_text, accelerator_of, _lower)
