"""TorchMetrics: functions and modules of classification, regression, text, images, retrieval, clustering, audio."""

from __future__ import annotations

from typing import Any

import jobs
import torch
import torchmetrics
import torchmetrics.functional as f
from jobs import job, rng, tensor, whole
from torchmetrics import (
    MetricCollection,
    classification,
    clustering,
    image,
    nominal,
    regression,
    retrieval,
    text,
    wrappers,
)
from torchmetrics.functional import segmentation

SAID = ["the cat is on the mat", "there is a dog here"]
TRUE = [["there is a cat on the mat", "a cat is on the mat"], ["a dog is here"]]


def unit(*shape: int, seed: int = 0) -> Any:
    return torch.sigmoid(tensor(*shape, seed=seed))


@job
def functional_classification() -> Any:
    """Functions of classification: binary, multiclass and multilabel."""
    p, y = tensor(40, 5).softmax(-1), whole(5, 40)
    b, z = unit(40), whole(2, 40, seed=1)
    labels = whole(2, 40, 5, seed=2)
    return {
        "accuracy": [f.accuracy(p, y, "multiclass", num_classes=5, average=a) for a in ("micro", "macro", None)],
        "top_k": f.accuracy(p, y, "multiclass", num_classes=5, top_k=2),
        "precision": f.precision(p, y, "multiclass", num_classes=5, average="weighted"),
        "recall": f.recall(b, z, "binary"),
        "f1": f.f1_score(p, y, "multiclass", num_classes=5, average=None),
        "fbeta": f.fbeta_score(unit(40, 5), labels, "multilabel", beta=2.0, num_labels=5),
        "specificity": f.specificity(b, z, "binary"),
        "auroc": [f.auroc(b, z, "binary"), f.auroc(p, y, "multiclass", num_classes=5)],
        "binned": f.auroc(b, z, "binary", thresholds=10),
        "average_precision": f.average_precision(p, y, "multiclass", num_classes=5, average=None),
        "roc": f.roc(b, z, "binary", thresholds=6),
        "curve": f.precision_recall_curve(b, z, "binary"),
        "confusion": f.confusion_matrix(p, y, "multiclass", num_classes=5, normalize="true"),
        "kappa": f.cohen_kappa(p, y, "multiclass", num_classes=5),
        "matthews": f.matthews_corrcoef(b, z, "binary"),
        "jaccard": f.jaccard_index(p, y, "multiclass", num_classes=5),
        "hamming": f.hamming_distance(unit(40, 5), labels, "multilabel", num_labels=5),
        "hinge": f.hinge_loss(p, y, "multiclass", num_classes=5),
        "calibration": f.calibration_error(b, z, "binary", n_bins=5),
        "exact": f.exact_match(whole(5, 6, 3), whole(5, 6, 3, seed=1), "multiclass", num_classes=5),
        "ranking": f.classification.multilabel_ranking_average_precision(unit(40, 5), labels, num_labels=5),
        "dice": segmentation.dice_score(whole(2, 2, 3, 4, 4), whole(2, 2, 3, 4, 4, seed=1), num_classes=3),
        "iou": segmentation.mean_iou(whole(2, 2, 3, 4, 4), whole(2, 2, 3, 4, 4, seed=1), num_classes=3),
    }


@job
def functional_regression() -> Any:
    """Functions of regression."""
    x, y = tensor(30), tensor(30) + 0.3 * tensor(30, seed=1)
    a, b = x.abs() + 0.1, y.abs() + 0.1
    return {
        "mse": f.mean_squared_error(x, y),
        "mae": f.mean_absolute_error(x, y),
        "r2": f.r2_score(x, y),
        "msle": f.mean_squared_log_error(a, b),
        "mape": f.mean_absolute_percentage_error(a, b),
        "smape": f.symmetric_mean_absolute_percentage_error(a, b),
        "pearson": f.pearson_corrcoef(x, y),
        "spearman": f.spearman_corrcoef(x, y),
        "kendall": f.kendall_rank_corrcoef(x, y),
        "ev": f.explained_variance(x, y),
        "cosine": f.cosine_similarity(x[None], y[None]),
        "tweedie": f.tweedie_deviance_score(a, b, power=1.5),
        "concordance": f.concordance_corrcoef(x, y),
        "log_cosh": f.log_cosh_error(x, y),
        "rse": f.relative_squared_error(x, y),
        "minkowski": f.minkowski_distance(x, y, p=3),
        "kl": f.kl_divergence(tensor(4, 5).softmax(-1), tensor(4, 5, seed=1).softmax(-1)),
        "crps": regression.ContinuousRankedProbabilityScore()(tensor(4, 6), tensor(4)),
    }


@job
def functional_pairs_and_images() -> Any:
    """Pairwise distances, clustering, nominal and image metrics."""
    x, y = tensor(5, 4), tensor(3, 4, seed=1)
    a, b = unit(2, 3, 32, 32), unit(2, 3, 32, 32, seed=1)
    return {
        "cosine": f.pairwise_cosine_similarity(x, y),
        "euclid": f.pairwise_euclidean_distance(x, y),
        "linear": f.pairwise_linear_similarity(x),
        "manhattan": f.pairwise_manhattan_distance(x, y),
        "psnr": f.peak_signal_noise_ratio(a, b, data_range=1.0),
        "ssim": f.structural_similarity_index_measure(a, b, data_range=1.0),
        "uqi": f.universal_image_quality_index(a, b),
        "sam": f.spectral_angle_mapper(a, b),
        "ergas": f.error_relative_global_dimensionless_synthesis(a, b),
        "tv": f.total_variation(a),
        "gradients": f.image_gradients(a[:, :1, :4, :4]),
        "rmse_sw": f.root_mean_squared_error_using_sliding_window(a, b),
        "snr": f.signal_noise_ratio(tensor(2, 50), tensor(2, 50, seed=1)),
        "si_sdr": f.scale_invariant_signal_distortion_ratio(tensor(2, 50), tensor(2, 50, seed=1)),
        "pit": f.permutation_invariant_training(
            tensor(2, 2, 30), tensor(2, 2, 30, seed=1), f.scale_invariant_signal_noise_ratio, eval_func="max"
        ),
    }


@job
def texts() -> Any:
    """BLEU, ROUGE, error rates and others of texts."""
    return {
        "bleu": f.bleu_score(SAID, TRUE),
        "chrf": f.chrf_score(SAID, TRUE),
        "wer": f.word_error_rate(SAID, [t[0] for t in TRUE]),
        "cer": f.char_error_rate(SAID, [t[0] for t in TRUE]),
        "mer": f.match_error_rate(SAID, [t[0] for t in TRUE]),
        "ter": f.translation_edit_rate(SAID, TRUE),
        "perplexity": f.perplexity(tensor(2, 6, 5), whole(5, 2, 6)),
        "edit": text.EditDistance()(SAID, [t[0] for t in TRUE]),
        "sacre": text.SacreBLEUScore()(SAID, TRUE),
        "squad": text.SQuAD()(
            [{"prediction_text": "1976", "id": "a"}], [{"answers": {"answer_start": [97], "text": ["1976"]}, "id": "a"}]
        ),
    }


@job
def modules() -> Any:
    """Metrics as modules over two batches: each value, the whole, the states."""
    made = {
        "accuracy": (classification.MulticlassAccuracy(5), tensor(40, 5), whole(5, 40)),
        "auroc": (classification.BinaryAUROC(), unit(40), whole(2, 40)),
        "f1": (classification.MulticlassF1Score(5, average="macro"), tensor(40, 5), whole(5, 40)),
        "confusion": (classification.MulticlassConfusionMatrix(5), tensor(40, 5), whole(5, 40)),
        "r2": (regression.R2Score(), tensor(40), tensor(40, seed=1)),
        "pearson": (regression.PearsonCorrCoef(), tensor(40), tensor(40, seed=1)),
        "spearman": (regression.SpearmanCorrCoef(), tensor(40), tensor(40, seed=1)),
        "mse": (regression.MeanSquaredError(squared=False), tensor(40), tensor(40, seed=1)),
        "ssim": (
            image.StructuralSimilarityIndexMeasure(data_range=1.0),
            unit(4, 1, 24, 24),
            unit(4, 1, 24, 24, seed=1),
        ),
        "psnr": (image.PeakSignalNoiseRatio(data_range=1.0), unit(4, 1, 8, 8), unit(4, 1, 8, 8, seed=1)),
        "cramers": (nominal.CramersV(num_classes=4), whole(4, 60), whole(4, 60, seed=1)),
        "nmi": (clustering.NormalizedMutualInfoScore(), whole(4, 60), whole(4, 60, seed=1)),
        "rand": (clustering.AdjustedRandScore(), whole(4, 60), whole(4, 60, seed=1)),
        "silhouette": (clustering.DunnIndex(), tensor(20, 3), whole(3, 20)),
    }
    answers = {}
    for name, (metric, x, y) in made.items():
        metric = metric.to(jobs.DEVICE)
        half = len(x) // 2
        first = metric(x[:half], y[:half])
        metric.update(x[half:], y[half:])
        whole_value = metric.compute()
        metric.reset()
        answers[name] = [first, whole_value, sorted(metric.metric_state)]
    return answers


@job
def retrieval_modules() -> Any:
    """Six retrieval metrics over queries."""
    x, y, queries = unit(24), whole(2, 24), whole(4, 24, seed=1)
    kinds = [
        retrieval.RetrievalMAP(),
        retrieval.RetrievalMRR(),
        retrieval.RetrievalNormalizedDCG(),
        retrieval.RetrievalPrecision(top_k=3),
        retrieval.RetrievalRecall(top_k=3),
        retrieval.RetrievalHitRate(top_k=2),
    ]
    return [k.to(jobs.DEVICE)(x, y, indexes=queries) for k in kinds]


@job
def collections_and_wrappers() -> Any:
    """Collections with shared states, minimum and maximum, trackers, wrappers by class and output."""
    made = MetricCollection({"a": classification.MulticlassAccuracy(3), "p": classification.MulticlassPrecision(3)})
    made = made.clone(prefix="val_").to(jobs.DEVICE)
    x, y = tensor(30, 3), whole(3, 30)
    for i in range(0, 30, 10):
        made.update(x[i : i + 10], y[i : i + 10])
    state = made.state_dict()
    smallest = wrappers.MinMaxMetric(regression.MeanSquaredError()).to(jobs.DEVICE)
    tracker = wrappers.MetricTracker(regression.MeanAbsoluteError(), maximize=False).to(jobs.DEVICE)
    for i in range(3):
        smallest.update(tensor(5, seed=i), tensor(5, seed=i + 9))
        tracker.increment()
        tracker.update(tensor(5, seed=i), tensor(5, seed=i + 9))
    each = wrappers.ClasswiseWrapper(classification.MulticlassRecall(3, average=None)).to(jobs.DEVICE)
    several = wrappers.MultioutputWrapper(regression.R2Score(), 2).to(jobs.DEVICE)
    return [
        made.compute(),
        sorted(state),
        smallest.compute(),
        tracker.compute_all(),
        tracker.best_metric(),
        each(x, y),
        several(tensor(9, 2), tensor(9, 2, seed=1)),
        sorted(made.compute_groups.items()),
    ]


@job
def aggregation_and_arithmetic() -> Any:
    """Mean, maximum, sum, running mean, and metrics computed from metrics."""
    mean, last, top = torchmetrics.MeanMetric(), torchmetrics.CatMetric(), torchmetrics.MaxMetric()
    total, moving = torchmetrics.SumMetric(nan_strategy="ignore"), torchmetrics.RunningMean(window=3)
    for i in range(5):
        value = rng(i).standard_normal()
        for m in (mean, last, top, total, moving):
            m.to(jobs.DEVICE).update(torch.tensor(value, dtype=torch.float32).to(jobs.DEVICE))
    total.update(float("nan"))
    both = (mean + top) * 2
    return [m.compute() for m in (mean, last, top, total, moving)], both.compute(), mean.update_count


@job
def gradients_and_state() -> Any:
    """Gradients through a metric; its state saved and loaded."""
    x = tensor(20, grad=True)
    regression.MeanSquaredError().to(jobs.DEVICE)(x, tensor(20, seed=1)).backward()
    metric = classification.BinaryAccuracy().to(jobs.DEVICE)
    metric.persistent(True)
    metric.update(unit(10), whole(2, 10))
    other = classification.BinaryAccuracy().to(jobs.DEVICE)
    other.persistent(True)
    other.load_state_dict(metric.state_dict())
    return x.grad, dict(metric.state_dict().items()), other.metric_state, metric.dtype is torch.float32


if __name__ == "__main__":
    jobs.main("torchmetrics")
