"""scikit-learn's estimators that take arrays of the standard give of tensors what they give of numpy's arrays."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np, flambeau as fb, sklearn
from sklearn import decomposition, discriminant_analysis, linear_model, metrics, mixture, naive_bayes, preprocessing
sklearn.set_config(array_api_dispatch=True)
rng = np.random.default_rng(0)
x = rng.standard_normal((60, 5))
y, r = (x[:, 0] + x[:, 1] > 0).astype(np.int64), x @ np.arange(5.0)
fits = {
    "PCA": lambda x, y, r: decomposition.PCA(2, svd_solver="full").fit(x).transform(x),
    "Ridge": lambda x, y, r: linear_model.Ridge(solver="svd").fit(x, r).predict(x),
    "RidgeClassifier": lambda x, y, r: linear_model.RidgeClassifier(solver="svd").fit(x, y).predict(x),
    "LogisticRegression": lambda x, y, r: linear_model.LogisticRegression().fit(x, y).predict(x),
    "LDA": lambda x, y, r: discriminant_analysis.LinearDiscriminantAnalysis().fit(x, y).predict(x),
    "GaussianMixture": lambda x, y, r: mixture.GaussianMixture(2, init_params="random", random_state=0).fit(x).means_,
    "GaussianNB": lambda x, y, r: naive_bayes.GaussianNB().fit(x, y).predict(x),
    "StandardScaler": lambda x, y, r: preprocessing.StandardScaler().fit_transform(x),
    "MinMaxScaler": lambda x, y, r: preprocessing.MinMaxScaler().fit_transform(x),
    "PolynomialFeatures": lambda x, y, r: preprocessing.PolynomialFeatures().fit_transform(x),
    "cosine": lambda x, y, r: metrics.pairwise.cosine_similarity(x),
    "rbf": lambda x, y, r: metrics.pairwise.rbf_kernel(x),
    "r2": lambda x, y, r: metrics.r2_score(r, r * 0.9),
    "roc": lambda x, y, r: metrics.roc_auc_score(y, r),
    "confusion": lambda x, y, r: metrics.confusion_matrix(y, 1 - y),
}
for name, fit in fits.items():
    found, wanted = fit(*map(fb.tensor, (x, y, r))), fit(x, y, r)
    assert isinstance(found, fb.Tensor) or not isinstance(wanted, np.ndarray), name
    np.testing.assert_allclose(np.asarray(found), wanted, 1e-6, 1e-8, err_msg=name)
"""


@pytest.mark.ecosystem
def test_estimators_take_tensors() -> None:
    pytest.importorskip("sklearn")
    env = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
