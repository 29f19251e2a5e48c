"""Nestings come apart and together as PyTorch's do, and registered classes everywhere."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as fb
from flambeau.utils import _pytree as pytree
from flambeau.utils._pytree import GetAttrKey, MappingKey, SequenceKey

Pair = namedtuple("Pair", "x y")
NESTING: dict[str, Any] = {
    "b": 1, "a": (2, [3, None]), "o": OrderedDict(z=1), "n": Pair(1, 2), "d": defaultdict(list, {"q": 5}),
    "q": deque([1, 2], maxlen=3),
}  # fmt: skip


class Box:
    def __init__(self, value: Any, label: str = ""):
        self.value, self.label = value, label


@pytest.fixture
def registered() -> Iterator[None]:
    pytree.register_pytree_node(
        Box, lambda b: ([b.value], b.label), lambda parts, label: Box(next(iter(parts)), label),
        serialized_type_name="Box",
    )  # fmt: skip
    yield
    pytree._deregister_pytree_node(Box)


nestings = st.recursive(
    st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Pair, inner, inner)
        | st.lists(inner, max_size=3).map(deque)
    ),
    max_leaves=12,
)


@settings(max_examples=40)
@given(nestings)
def test_apart_and_together(tree: Any) -> None:
    leaves, spec = pytree.tree_flatten(tree)
    assert spec.unflatten(leaves) == tree and spec.num_leaves == len(leaves)
    assert list(pytree.tree_iter(tree)) == leaves == spec.flatten_up_to(tree)
    paths = pytree.tree_leaves_with_path(tree)
    assert [leaf for _, leaf in paths] == leaves
    assert all(pytree.key_get(tree, path) is leaf for path, leaf in paths if leaf is not None)


@settings(max_examples=25)
@given(nestings)
def test_structures_as_text(tree: Any) -> None:
    pytree._register_namedtuple(Pair, serialized_type_name="Pair")
    spec = pytree.tree_structure(tree)
    assert pytree.treespec_loads(pytree.treespec_dumps(spec)) == spec


def test_what_a_structure_says() -> None:
    spec = pytree.tree_structure((1, [2, {"a": 3}]))
    assert str(spec) == "TreeSpec(tuple, None, [*,\n  TreeSpec(list, None, [*,\n    TreeSpec(dict, ['a'], [*])])])"
    assert (spec.num_nodes, spec.num_leaves, spec.num_children) == (6, 3, 2)
    assert pytree.treespec_pprint(spec) == "(*, [*, {'a': *}])"
    assert "".join(map(str, (MappingKey("a"), SequenceKey(1), GetAttrKey("x")))) == "['a'][1].x"
    assert [pytree.keystr(k) for k, _ in pytree.tree_leaves_with_path(NESTING)][:3] == [
        "['b']",
        "['a'][0]",
        "['a'][1][0]",
    ]


@pytest.mark.parametrize(
    ("trees", "text"),
    [
        (({"a": 1}, {"b": 1}), r"missing key\(s\): {'a'}; extra key\(s\): {'b'}"),
        (((1, 2), (1,)), "Node arity mismatch; expected 2, but got 1"),
        (((1, 2), [1, 2]), "Node type mismatch; expected <class 'tuple'>, but got <class 'list'>"),
    ],
)
def test_trees_that_do_not_match(trees: tuple[Any, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        pytree.tree_map(lambda a, b: a, *trees)


def test_functions_of_leaves() -> None:
    assert pytree.tree_map(lambda a, b: (a, b), {"a": 1, "b": 2}, {"b": 1, "a": 5}) == {"a": (1, 5), "b": (2, 1)}
    assert pytree.tree_map_only((int, str), lambda v: v * 2, [1, "a", 2.0]) == [2, "aa", 2.0]
    assert pytree.tree_map_only(lambda v: v == 1, lambda v: 0, [1, 2]) == [0, 2]
    assert pytree.tree_all_only(int, lambda v: v > 0, [1, "a"]) and pytree.tree_any(lambda v: v == 3, NESTING)
    prefix = pytree._broadcast_to_and_flatten({"a": 1, "b": 2}, pytree.tree_structure({"a": (1, 2), "b": 3}))
    assert prefix == [1, 1, 2]
    assert pytree._broadcast_to_and_flatten((1, 2), pytree.tree_structure(3)) is None
    with pytest.raises(ValueError, match="`leaves` has length 1 but the spec refers to a pytree that holds 2 items"):
        pytree.tree_unflatten([1], pytree.tree_structure((1, 2)))


def test_results_of_ops_and_sizes() -> None:
    leaves, spec = pytree.tree_flatten(fb.ones(2, 3).max(0))
    assert len(leaves) == 2 and type(spec.unflatten(leaves)) is type(fb.ones(2, 3).max(0))
    assert pytree.is_structseq(fb.ones(2, 3).max(0)) and not pytree.is_namedtuple(fb.ones(2, 3).max(0))
    assert pytree.is_namedtuple(Pair(1, 2)) and pytree.is_namedtuple_class(Pair)
    assert pytree.tree_leaves(fb.Size([2, 3])) == [2, 3]


def test_registered_classes_are_opened_everywhere(registered: None) -> None:
    back = pytree.tree_map(lambda v: v + 1, [Box(1, "one")])
    assert back[0].value == 2 and back[0].label == "one"
    spec = pytree.tree_structure(Box(1, "one"))
    assert pytree.treespec_loads(pytree.treespec_dumps(spec)) == spec
    grads = fb.func.grad(lambda box: (box.value * 3).sum())(Box(fb.ones(2), "x"))
    assert grads.label == "x" and grads.value.tolist() == [3, 3]
    with pytest.raises(ValueError, match="already registered"):
        pytree.register_pytree_node(Box, lambda b: ([], None), lambda parts, _: Box(0))
    with pytest.raises(ValueError, match="flatten_with_keys_fn"):
        pytree.tree_flatten_with_path(Box(1))
