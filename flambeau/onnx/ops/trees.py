"""Ensembles of decision trees: all rows walk down all trees at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import flambeau as fb
from flambeau import Tensor
from flambeau.core.dtype import bool_
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.ops.conversion import like
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import ML, op
from flambeau.onnx.values import MOST

_MODES: Final = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")


@dataclass(slots=True)
class Forest:
    """Nodes and leaves in one list; a leaf is its own child. ``members`` has a row of numbers for each node."""

    feature: list[int]
    split: list[float]
    mode: list[int]
    yes: list[int]
    no: list[int]
    missing: list[bool]
    roots: list[int]
    weights: list[list[float]]
    members: list[list[float]] | None = None

    def leaves(self, x: Tensor) -> Tensor:
        """The leaf at which each row ends in each tree, of shape (rows, trees)."""
        device, size = x.device, len(self.feature)
        if any(not 0 <= i < size for i in (*self.yes, *self.no, *self.roots)):
            raise OnnxError("a node of a tree is not there")
        if any(not 0 <= f < x.shape[1] for f in self.feature):
            raise OnnxError(f"a tree asks for a feature that rows of {x.shape[1]} do not have")
        feature, mode, yes, no = (
            fb.tensor(v, dtype=fb.int64, device=device) for v in (self.feature, self.mode, self.yes, self.no)
        )
        split = fb.tensor(self.split, dtype=x.dtype, device=device)
        missing = fb.tensor(self.missing, dtype=bool_, device=device)
        members = None if self.members is None else fb.tensor(self.members, dtype=x.dtype, device=device)
        at = fb.tensor(self.roots, dtype=fb.int64, device=device).expand((x.shape[0], -1))
        for _ in range(size + 1):
            value, bound, kind = fb.gather(x, 1, feature[at]), split[at], mode[at]
            right = value <= bound
            for number, answer in enumerate(
                (value < bound, value >= bound, value > bound, value == bound, value != bound), 1
            ):
                right = fb.where(kind == number, answer, right)
            if members is not None:
                right = fb.where(kind == 6, (members[at] == value[..., None]).any(-1), right)
            right = right | (fb.isnan(value) & missing[at])
            below = fb.where(right, yes[at], no[at])
            if bool((below == at).all().item()):
                return at
            at = below
        raise OnnxError("the nodes of a tree go in a circle")


def _aggregated(call: Call, forest: Forest, x: Tensor) -> Tensor:
    weights = fb.tensor(forest.weights, dtype=x.dtype, device=x.device)[forest.leaves(x)]
    how = call["aggregate_function"]
    if how in (1, "SUM"):
        return weights.sum(1)
    if how in (0, "AVERAGE"):
        return weights.mean(1)
    if how in (2, "MIN", 3, "MAX"):
        return fb.amin(weights, 1) if how in (2, "MIN") else fb.amax(weights, 1)
    raise OnnxError(f"there is no way {how!r} of putting trees together")


def transformed(call: Call, scores: Tensor) -> Tensor:
    """What ``post_transform`` makes of scores."""
    how = call["post_transform"]
    if how in (0, "NONE", None):
        return scores
    if how in (2, "LOGISTIC"):
        return fb.sigmoid(scores)
    if how in (1, "SOFTMAX"):
        return fb.softmax(scores, -1)
    if how in (3, "SOFTMAX_ZERO"):
        full = fb.softmax(fb.where(scores == 0, fb.full_like(scores, -fb.inf), scores), -1)
        return fb.where(scores == 0, scores, full)
    if how in (4, "PROBIT"):
        return 1.41421356 * fb.special.erfinv(2 * scores - 1)
    raise OnnxError(f"there is no transform {how!r} of scores")


@op("TreeEnsemble", domain=ML, since=5)
def tree_ensemble(call: Call, x: Tensor) -> Tensor:
    """Leaves are a list of their own here, and their children are said to be leaves by a flag."""
    nodes = len(call["nodes_featureids"])
    targets, ids = call["n_targets"], call["leaf_targetids"]
    if not 0 < targets <= MOST // max(nodes, 1) or any(not 0 <= t < targets for t in ids):
        raise OnnxError("a leaf names a target that is not there")
    splits, modes, weights = (_listed(call, n) for n in ("nodes_splits", "nodes_modes", "leaf_weights"))
    rows = [[0.0] * targets for _ in range(nodes)]
    for target, weight in zip(ids, weights, strict=True):
        rows.append([weight if i == target else 0.0 for i in range(targets)])
    count = len(ids)
    own = list(range(nodes, nodes + count))
    yes = [i + nodes * bool(leaf) for i, leaf in zip(call["nodes_truenodeids"], call["nodes_trueleafs"], strict=True)]
    no = [i + nodes * bool(leaf) for i, leaf in zip(call["nodes_falsenodeids"], call["nodes_falseleafs"], strict=True)]
    forest = Forest(
        [*call["nodes_featureids"], *[0] * count],
        [*splits, *[0.0] * count],
        [*(int(m) for m in modes), *[0] * count],
        [*yes, *own],
        [*no, *own],
        [*(bool(m) for m in call["nodes_missing_value_tracks_true"] or [0] * nodes), *[False] * count],
        list(call["tree_roots"]),
        rows,
        _members(call, [int(m) for m in modes], count),
    )
    return transformed(call, _aggregated(call, forest, x))


def _listed(call: Call, name: str) -> list[float]:
    value = like(call[name], call.device)
    if not isinstance(value, Tensor):
        raise OnnxError(f"the attribute {name!r} is no tensor of numbers")
    return value.tolist()  # type: ignore[no-any-return]  # of a tensor of rank 1


def _members(call: Call, modes: list[int], leaves: int) -> list[list[float]] | None:
    """The sets of the nodes that ask for membership, which NaN ends in one flat list."""
    if 6 not in modes:
        return None
    sets: list[list[float]] = [[]]
    for value in _listed(call, "membership_values"):
        if value != value:
            sets.append([])
        else:
            sets[-1].append(value)
    width, rest = max(map(len, sets)), iter(sets)
    rows = [next(rest) if mode == 6 else [] for mode in modes] + [[]] * leaves
    return [row + [float("nan")] * (width - len(row)) for row in rows]


@op("TreeEnsembleRegressor", domain=ML)
def tree_regressor(call: Call, x: Tensor) -> Tensor:
    x = x if x.is_floating_point() else x.to(fb.float32)
    forest = named(call, call["n_targets"], "target_treeids", "target_nodeids", "target_ids", "target_weights")
    scores = _aggregated(call, forest, x).to(fb.float32)
    if call["base_values"]:
        scores = scores + fb.tensor(call["base_values"], dtype=fb.float32, device=x.device)
    return transformed(call, scores)


def named(call: Call, targets: int, trees: str, nodes: str, ids: str, weights: str) -> Forest:
    """The forest of the older ops, whose nodes are named by a tree and a number in it."""
    names = list(zip(call["nodes_treeids"], call["nodes_nodeids"], strict=True))
    place = {name: i for i, name in enumerate(names)}
    rows = [[0.0] * targets for _ in names]
    try:
        for tree, node, target, weight in zip(call[trees], call[nodes], call[ids], call[weights], strict=True):
            rows[place[tree, node]][target] += weight
        leaf = [mode == "LEAF" for mode in call["nodes_modes"]]
        modes = [0 if end else _MODES.index(mode) for mode, end in zip(call["nodes_modes"], leaf, strict=True)]
        yes, no = (
            [i if leaf[i] else place[names[i][0], to] for i, to in enumerate(call[children])]
            for children in ("nodes_truenodeids", "nodes_falsenodeids")
        )
    except (KeyError, IndexError, ValueError) as e:
        raise OnnxError(f"the trees are not well formed: {e}") from None
    children = {
        *(y for y, end in zip(yes, leaf, strict=True) if not end),
        *(n for n, end in zip(no, leaf, strict=True) if not end),
    }
    roots = [i for i in range(len(names)) if i not in children]
    tracks = [bool(m) for m in call["nodes_missing_value_tracks_true"] or [0] * len(names)]
    features = [0 if end else f for f, end in zip(call["nodes_featureids"], leaf, strict=True)]
    return Forest(features, list(call["nodes_values"]), modes, yes, no, tracks, roots, rows)
