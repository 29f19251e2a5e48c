"""Nestings of containers as flat lists of leaves, with the names that PyTorch's ``torch.utils._pytree`` has.

Containers are tuples, lists, dicts, named tuples, ordered and default dicts, deques, and classes that were registered;
everything else, None too, is a leaf. A class that is registered here is opened by the transforms and hooks as well.
"""

from __future__ import annotations

import builtins
import dataclasses
import json
import warnings
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from types import UnionType
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

from flambeau.core import tree as core_tree
from flambeau.core.dtype import DType
from flambeau.core.results import is_structured
from flambeau.core.size import Size
from flambeau.utils._pytree_keys import (
    GetAttrKey,
    KeyEntry,
    KeyPath,
    MappingKey,
    SequenceKey,
    is_namedtuple,
    is_namedtuple_class,
    is_namedtuple_instance,
    is_structseq,
    is_structseq_class,
    is_structseq_instance,
    key_get,
    keystr,
)  # fmt: skip

__all__ = [
    "GetAttrKey", "LeafSpec", "MappingKey", "PyTreeSpec", "SequenceKey", "TreeSpec", "is_namedtuple",
    "is_namedtuple_class", "is_namedtuple_instance", "is_structseq", "is_structseq_class", "is_structseq_instance",
    "key_get", "keystr", "register_dataclass", "register_pytree_node", "tree_all", "tree_all_only", "tree_any",
    "tree_any_only", "tree_flatten", "tree_flatten_with_path", "tree_is_leaf", "tree_iter", "tree_leaves",
    "tree_leaves_with_path", "tree_map", "tree_map_", "tree_map_only", "tree_map_only_", "tree_map_with_path",
    "tree_structure", "tree_unflatten", "treespec_dumps", "treespec_loads", "treespec_pprint",
]  # fmt: skip

T = TypeVar("T")
PyTree: TypeAlias = Any  # a leaf, or containers of leaves
Context: TypeAlias = Any  # what a container needs beside its children to be made again
DumpableContext: TypeAlias = Any  # the same, of what JSON has
FlattenFn: TypeAlias = Callable[[Any], tuple[list[Any], Context]]
UnflattenFn: TypeAlias = Callable[[Iterable[Any], Context], Any]
FlattenWithKeysFn: TypeAlias = Callable[[Any], tuple[list[tuple[KeyEntry, Any]], Context]]
ToDumpableContextFn: TypeAlias = Callable[[Context], DumpableContext]
FromDumpableContextFn: TypeAlias = Callable[[DumpableContext], Context]
IsLeaf: TypeAlias = Callable[[Any], bool] | None
Only: TypeAlias = type[Any] | tuple[type[Any], ...] | UnionType | Callable[[Any], bool]


class NodeDef(NamedTuple):
    """How a kind of container comes apart and together."""

    type: Any
    flatten_fn: FlattenFn
    unflatten_fn: UnflattenFn
    flatten_with_keys_fn: FlattenWithKeysFn | None


class _Written(NamedTuple):
    """How a kind stands in a dumped structure."""

    name: str
    to_dumpable: ToDumpableContextFn | None
    from_dumpable: FromDumpableContextFn | None


def namedtuple(cls: type[T], values: Iterable[Any]) -> T:
    """The kind of all named tuples; called, it makes one of a class."""
    return cls(*values)


# -- the containers ------------------------------------------------------------------------------------
def _with_keys(flatten: FlattenFn, key: Callable[[Any], KeyEntry], keyed: bool) -> FlattenWithKeysFn:
    def flatten_with_keys(node: Any) -> tuple[list[tuple[KeyEntry, Any]], Context]:
        children, context = flatten(node)
        names = list(node) if keyed else range(len(children))
        return [(key(n), c) for n, c in zip(names, children, strict=True)], context

    return flatten_with_keys


def _fields_with_keys(node: Any) -> tuple[list[tuple[KeyEntry, Any]], Context]:
    return [(GetAttrKey(n), v) for n, v in zip(node._fields, node, strict=True)], type(node)


def _sequence(kind: Any, make: UnflattenFn, flatten: FlattenFn = lambda s: (list(s), None)) -> NodeDef:
    return NodeDef(kind, flatten, make, _with_keys(flatten, SequenceKey, False))


def _mapping(kind: Any, make: UnflattenFn, flatten: FlattenFn = lambda d: (list(d.values()), list(d))) -> NodeDef:
    return NodeDef(kind, flatten, make, _with_keys(flatten, MappingKey, True))


def _paired(keys: Iterable[Any], values: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(keys, values, strict=True)


SUPPORTED_NODES: dict[Any, NodeDef] = {
    node.type: node
    for node in (
        _sequence(tuple, lambda values, _: tuple(values)),
        _sequence(list, lambda values, _: list(values)),
        _sequence(deque, lambda values, maxlen: deque(values, maxlen), lambda d: (list(d), d.maxlen)),
        _sequence(Size, lambda values, _: Size(values)),
        _mapping(dict, lambda values, keys: dict(_paired(keys, values))),
        _mapping(OrderedDict, lambda values, keys: OrderedDict(_paired(keys, values))),
        _mapping(
            defaultdict,
            lambda values, context: defaultdict(context[0], _paired(context[1], values)),
            lambda d: (list(d.values()), [d.default_factory, list(d)]),
        ),
        NodeDef(
            namedtuple, lambda t: (list(t), type(t)), lambda values, cls: namedtuple(cls, values), _fields_with_keys
        ),
    )
}
BUILTIN_TYPES = frozenset(SUPPORTED_NODES) - {Size}
_WRITTEN: dict[Any, _Written] = {
    kind: _Written(f"{kind.__module__}.{kind.__qualname__}", None, None)
    for kind in (tuple, list, dict, OrderedDict, deque)
}
_READ: dict[str, Any] = {written.name: kind for kind, written in _WRITTEN.items()}


def register_pytree_node(
    cls: type[Any], flatten_fn: FlattenFn, unflatten_fn: UnflattenFn, *, serialized_type_name: str | None = None,
    to_dumpable_context: ToDumpableContextFn | None = None, from_dumpable_context: FromDumpableContextFn | None = None,
    flatten_with_keys_fn: FlattenWithKeysFn | None = None,
) -> None:  # fmt: skip
    """Make ``cls`` a container.

    Args:
        cls: the class; a ValueError if it is one already. Its subclasses stay leaves.
        flatten_fn: from an object to its children and whatever else it is made of, the context.
        unflatten_fn: from children and context to the object.
        serialized_type_name: under which :func:`treespec_dumps` writes it; by default its module and name.
        to_dumpable_context, from_dumpable_context: the context as what JSON has, and back; both or none.
        flatten_with_keys_fn: as ``flatten_fn``, with pairs of key and child, for the functions with paths.

    >>> class Pair:
    ...     def __init__(self, a, b): self.a, self.b = a, b
    >>> register_pytree_node(Pair, lambda p: ([p.a, p.b], None), lambda parts, _: Pair(*parts))
    >>> tree_leaves([Pair(1, (2, 3)), 4])
    [1, 2, 3, 4]
    """
    if cls in SUPPORTED_NODES:
        raise ValueError(f"register_pytree_node: {cls!r} is already registered as pytree node.")
    if (to_dumpable_context is None) != (from_dumpable_context is None):
        raise ValueError(
            f"register_pytree_node: both to_dumpable_context and from_dumpable_context for {cls.__name__} must be None "
            "or registered"
        )
    SUPPORTED_NODES[cls] = NodeDef(cls, flatten_fn, unflatten_fn, flatten_with_keys_fn)
    name = serialized_type_name or f"{cls.__module__}.{cls.__qualname__}"
    _WRITTEN[cls] = _Written(name, to_dumpable_context, from_dumpable_context)
    _READ[name] = cls
    core_tree.REGISTERED[cls] = (flatten_fn, unflatten_fn)


_register_pytree_node = _private_register_pytree_node = register_pytree_node


def _deregister_pytree_node(cls: type[Any]) -> None:
    """Make ``cls`` a leaf again."""
    del SUPPORTED_NODES[cls]
    _READ.pop(_WRITTEN.pop(cls).name, None)
    core_tree.REGISTERED.pop(cls, None)


def register_dataclass(
    cls: type[Any], *, field_names: list[str] | None = None, drop_field_names: list[str] | None = None,
    serialized_type_name: str | None = None,
) -> None:  # fmt: skip
    """Make a dataclass a container of its fields, but those that are dropped.

    >>> import dataclasses
    >>> Point = dataclasses.make_dataclass("Point", ["x", "y"])
    >>> register_dataclass(Point)
    >>> tree_map(lambda v: v + 1, Point(1, 2))
    Point(x=2, y=3)
    """
    dropped = set(drop_field_names or ())
    names = field_names or [f.name for f in dataclasses.fields(cls) if f.name not in dropped]

    def flatten_with_keys(value: Any) -> tuple[list[tuple[KeyEntry, Any]], Context]:
        return [(GetAttrKey(n), getattr(value, n)) for n in names], None

    register_pytree_node(
        cls, lambda value: ([getattr(value, n) for n in names], None),
        lambda values, _: cls(**dict(_paired(names, values))), serialized_type_name=serialized_type_name,
        flatten_with_keys_fn=flatten_with_keys,
    )  # fmt: skip


def _register_namedtuple(cls: type[Any], *, serialized_type_name: str) -> None:
    """Give a class of named tuples the name by which dumped structures know it."""
    _WRITTEN[cls] = _Written(serialized_type_name, None, None)
    _READ[serialized_type_name] = cls


def _node_of(tree: PyTree) -> NodeDef | None:
    """How ``tree`` comes apart; None for a leaf."""
    found = SUPPORTED_NODES.get(type(tree))
    if found is None and isinstance(tree, tuple):
        if is_namedtuple_class(type(tree)):
            return SUPPORTED_NODES[namedtuple]
        if is_structured(type(tree)):
            cls = type(tree)
            return _sequence(cls, lambda values, _: cls(*values))
    return found


# -- the structure ---------------------------------------------------------------------------------------
class TreeSpec:
    """The structure of a nesting: the kind of its container, what that is made of, and its children's structures.

    >>> tree_structure([1, (2, 3)])
    TreeSpec(list, None, [*,
      TreeSpec(tuple, None, [*,
        *])])
    """

    __slots__ = ("_children", "_context", "num_children", "num_leaves", "num_nodes", "type")

    num_children: int
    num_nodes: int
    num_leaves: int

    def __init__(self, type: Any, context: Context, children_specs: list[TreeSpec]):
        self.type, self._context, self._children = type, context, children_specs
        self.num_children = len(children_specs)
        self.num_nodes = 1 + sum(c.num_nodes for c in children_specs)
        self.num_leaves = 1 if type is None else sum(c.num_leaves for c in children_specs)

    @property
    def context(self) -> Context:
        """What the container needs beside its children."""
        return self._context

    @property
    def children_specs(self) -> list[TreeSpec]:
        """The structures of the children."""
        return self._children

    def is_leaf(self) -> bool:
        """Whether it is a leaf alone."""
        return self.type is None

    def children(self) -> list[TreeSpec]:
        """The structures of the children, in a list of its own."""
        return self._children.copy()

    def child(self, index: int) -> TreeSpec:
        """The structure of one child."""
        return self._children[index]

    def flatten_up_to(self, tree: PyTree) -> list[PyTree]:
        """What of ``tree`` stands where this structure has leaves; ValueError where it has another container."""
        found: list[PyTree] = []
        self._collect(tree, found)
        return found

    def _collect(self, tree: PyTree, found: list[PyTree]) -> None:
        if self.type is None:
            found.append(tree)
            return
        node = _node_of(tree)
        kind = None if node is None else node.type
        mappings = (dict, OrderedDict, defaultdict)
        if node is None or kind != self.type and not (self.type in mappings and kind in mappings):
            raise ValueError(f"Node type mismatch; expected {self.type!r}, but got {type(tree)!r}.")
        children, context = node.flatten_fn(tree)
        if self.type in mappings:
            keys = self._context[1] if self.type is defaultdict else self._context
            if set(keys) != set(tree):
                missing, extra = set(keys) - set(tree), set(tree) - set(keys)
                words = "; ".join(
                    f"{what} key(s): {group}" for what, group in (("missing", missing), ("extra", extra)) if group
                )
                raise ValueError(f"Node keys mismatch; {words}.")
            children = [tree[k] for k in keys]
        elif len(children) != self.num_children:
            raise ValueError(f"Node arity mismatch; expected {self.num_children}, but got {len(children)}.")
        elif self.type is not deque and context != self._context:
            raise ValueError(f"Node context mismatch for custom node type {self.type!r}.")
        for spec, child in zip(self._children, children, strict=True):
            spec._collect(child, found)

    def unflatten(self, leaves: Iterable[Any]) -> PyTree:
        """The nesting with these leaves."""
        given = list(leaves)
        if len(given) != self.num_leaves:
            raise ValueError(
                f"treespec.unflatten(leaves): `leaves` has length {len(given)} but the spec refers to a pytree that "
                f"holds {self.num_leaves} items ({self})."
            )
        return self._built(iter(given))

    def _built(self, leaves: Iterator[Any]) -> PyTree:
        if self.type is None:
            return next(leaves)
        children = [c._built(leaves) for c in self._children]
        node = SUPPORTED_NODES.get(self.type)
        return self.type(*children) if node is None else node.unflatten_fn(children, self._context)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TreeSpec):
            return NotImplemented
        return (self.type, self._context, self._children) == (other.type, other._context, other._children)

    def __hash__(self) -> int:
        context = self._context
        hashable = tuple(context) if self.type in (dict, OrderedDict) else str(context)
        return hash((self.type, hashable, tuple(self._children)))

    def __repr__(self, indent: int = 0) -> str:
        if self.type is None:
            return "*"
        inner = f",\n{' ' * (indent + 2)}".join(c.__repr__(indent + 2) for c in self._children)
        return f"TreeSpec({self.type.__name__}, {self._context}, [{inner}])"

    __str__ = __repr__


class LeafSpec(TreeSpec):
    """The structure of a leaf.

    >>> LeafSpec() == tree_structure(1)
    True
    """

    def __init__(self) -> None:
        super().__init__(None, None, [])


PyTreeSpec = TreeSpec
_LEAF_SPEC = LeafSpec()
STANDARD_DICT_TYPES = frozenset({dict, OrderedDict, defaultdict})


# -- apart and together ------------------------------------------------------------------------------------
def tree_is_leaf(tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Whether ``tree`` is no container, or one that ``is_leaf`` calls a leaf.

    >>> tree_is_leaf(1), tree_is_leaf([1])
    (True, False)
    """
    return (is_leaf is not None and is_leaf(tree)) or _node_of(tree) is None


def tree_flatten(tree: PyTree, is_leaf: IsLeaf = None) -> tuple[list[Any], TreeSpec]:
    """The leaves in order, and the structure.

    >>> tree_flatten({"a": 1, "b": [2]})[0]
    [1, 2]
    """
    leaves: list[Any] = []
    return leaves, _walk(tree, leaves, is_leaf)


def _walk(tree: PyTree, leaves: list[Any], is_leaf: IsLeaf) -> TreeSpec:
    node = None if is_leaf is not None and is_leaf(tree) else _node_of(tree)
    if node is None:
        leaves.append(tree)
        return _LEAF_SPEC
    children, context = node.flatten_fn(tree)
    return TreeSpec(node.type, context, [_walk(c, leaves, is_leaf) for c in children])


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> PyTree:
    """The nesting of this structure with these leaves; ValueError if they are not as many.

    >>> tree_unflatten([5, 6], tree_structure((1, [2])))
    (5, [6])
    """
    if not isinstance(treespec, TreeSpec):
        raise TypeError(f"tree_unflatten: argument 'treespec' must be a TreeSpec, got {type(treespec).__name__}")
    return treespec.unflatten(leaves)


def tree_iter(tree: PyTree, is_leaf: IsLeaf = None) -> Iterator[Any]:
    """The leaves, one after the other.

    >>> list(tree_iter([1, [2]]))
    [1, 2]
    """
    node = None if is_leaf is not None and is_leaf(tree) else _node_of(tree)
    if node is None:
        yield tree
        return
    for child in node.flatten_fn(tree)[0]:
        yield from tree_iter(child, is_leaf)


def tree_leaves(tree: PyTree, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves.

    >>> tree_leaves({"a": (1, 2)})
    [1, 2]
    """
    return list(tree_iter(tree, is_leaf))


def tree_structure(tree: PyTree, is_leaf: IsLeaf = None) -> TreeSpec:
    """The structure.

    >>> tree_structure([1, 2]).num_leaves
    2
    """
    return tree_flatten(tree, is_leaf)[1]


# -- with paths ----------------------------------------------------------------------------------------------
def tree_leaves_with_path(tree: PyTree, is_leaf: IsLeaf = None) -> list[tuple[KeyPath, Any]]:
    """Pairs of the keys that lead to a leaf, and the leaf.

    >>> [(keystr(path), leaf) for path, leaf in tree_leaves_with_path({"a": [1]})]
    [("['a'][0]", 1)]
    """
    return list(_paths((), tree, is_leaf))


def _paths(path: KeyPath, tree: PyTree, is_leaf: IsLeaf) -> Iterator[tuple[KeyPath, Any]]:
    node = None if is_leaf is not None and is_leaf(tree) else _node_of(tree)
    if node is None:
        yield path, tree
        return
    if node.flatten_with_keys_fn is None:
        raise ValueError(
            f"Did not find a flatten_with_keys_fn for type: {node.type}. Please pass a flatten_with_keys_fn argument "
            "to register_pytree_node."
        )
    for key, child in node.flatten_with_keys_fn(tree)[0]:
        yield from _paths((*path, key), child, is_leaf)


def tree_flatten_with_path(tree: PyTree, is_leaf: IsLeaf = None) -> tuple[list[tuple[KeyPath, Any]], TreeSpec]:
    """What :func:`tree_leaves_with_path` gives, and the structure.

    >>> tree_flatten_with_path([7])[0]
    [((SequenceKey(idx=0),), 7)]
    """
    return tree_leaves_with_path(tree, is_leaf), tree_structure(tree, is_leaf)


def tree_map_with_path(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """``func(path, leaf, ...)`` of each leaf.

    >>> tree_map_with_path(lambda path, v: keystr(path), {"a": 1})
    {'a': "['a']"}
    """
    pairs, spec = tree_flatten_with_path(tree, is_leaf)
    others = [spec.flatten_up_to(r) for r in rests]
    return spec.unflatten([func(*both, *more) for both, *more in zip(pairs, *others, strict=True)])


# -- functions of all leaves -----------------------------------------------------------------------------------
def tree_map(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """``func`` of each leaf, and of what stands there in ``rests``, in the same structure.

    >>> tree_map(lambda a, b: a + b, (1, [2]), (10, [20]))
    (11, [22])
    """
    leaves, spec = tree_flatten(tree, is_leaf)
    others = [spec.flatten_up_to(r) for r in rests]
    return spec.unflatten([func(*values) for values in zip(leaves, *others, strict=True)])


def tree_map_(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """Call ``func`` on each leaf for what it does, and give ``tree`` back.

    >>> tree_map_(lambda t: t.add_(1), [fb.zeros(1)])
    [tensor([1.])]
    """
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def _only(what: Only) -> Callable[[Any], bool]:
    if isinstance(what, (type, tuple, UnionType)):
        return lambda leaf: isinstance(leaf, what)
    return what


def map_only(type_or_types_or_pred: Only, /) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """A decorator: the function for leaves of some types, or for which a predicate holds; others stay as they are."""
    wanted = _only(type_or_types_or_pred)
    return lambda func: lambda leaf: func(leaf) if wanted(leaf) else leaf


def tree_map_only(
    type_or_types_or_pred: Only, /, func: Callable[[Any], Any], tree: PyTree, is_leaf: IsLeaf = None
) -> PyTree:
    """``func`` of the leaves of some types, or for which a predicate holds; the others as they are.

    >>> tree_map_only(int, lambda v: v + 1, [1, "a"])
    [2, 'a']
    """
    return tree_map(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_map_only_(
    type_or_types_or_pred: Only, /, func: Callable[[Any], Any], tree: PyTree, is_leaf: IsLeaf = None
) -> PyTree:
    """Call ``func`` on such leaves for what it does, and give ``tree`` back.

    >>> tree_map_only_(fb.Tensor, lambda t: t.add_(1), [fb.zeros(1), "a"])
    [tensor([1.]), 'a']
    """
    return tree_map_(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Whether ``pred`` holds for every leaf.

    >>> tree_all(lambda v: v > 0, [1, (2, 3)])
    True
    """
    return all(map(pred, tree_iter(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Whether ``pred`` holds for any leaf.

    >>> tree_any(lambda v: v > 2, [1, (2, 3)])
    True
    """
    return any(map(pred, tree_iter(tree, is_leaf)))


def tree_all_only(type_or_types: Only, /, pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Whether ``pred`` holds for every leaf of some types.

    >>> tree_all_only(int, lambda v: v > 0, [1, "a"])
    True
    """
    return all(pred(leaf) for leaf in filter(_only(type_or_types), tree_iter(tree, is_leaf)))


def tree_any_only(type_or_types: Only, /, pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Whether ``pred`` holds for any leaf of some types.

    >>> tree_any_only(int, lambda v: v > 1, [1, "a"])
    False
    """
    return any(pred(leaf) for leaf in filter(_only(type_or_types), tree_iter(tree, is_leaf)))


def arg_tree_leaves(*args: PyTree, **kwargs: PyTree) -> list[Any]:
    """The leaves of all arguments of a call."""
    return tree_leaves((args, kwargs))


def _broadcast_to_and_flatten(tree: PyTree, treespec: TreeSpec, is_leaf: IsLeaf = None) -> list[Any] | None:
    """A leaf of ``tree`` for each leaf of ``treespec``, whose parts may be deeper; None where they do not match."""
    found: list[Any] = []
    prefix = tree_structure(tree, is_leaf)

    def fill(part: TreeSpec, whole: TreeSpec, leaves: Iterator[Any]) -> bool:
        if part.type is None:
            found.extend([next(leaves)] * whole.num_leaves)
            return True
        same = part.type == whole.type and part.context == whole.context and part.num_children == whole.num_children
        return same and all(fill(p, w, leaves) for p, w in zip(part._children, whole._children, strict=True))

    return found if fill(prefix, treespec, tree_iter(tree, is_leaf)) else None


# -- structures as text ------------------------------------------------------------------------------------------
_PROTOCOL = 1


def treespec_dumps(treespec: TreeSpec, protocol: int | None = None) -> str:
    """A structure as JSON that :func:`treespec_loads` reads.

    >>> treespec_loads(treespec_dumps(tree_structure([1, (2,)]))) == tree_structure([1, (2,)])
    True
    """
    if not isinstance(treespec, TreeSpec):
        raise TypeError(f"treespec_dumps: argument 'treespec' must be a TreeSpec, got {type(treespec).__name__}")
    if protocol not in (None, _PROTOCOL):
        raise ValueError(f"treespec_dumps: protocol must be None or {_PROTOCOL}, got {protocol}")
    return json.dumps([_PROTOCOL, _dumped(treespec)], default=_dumped_enum)


def _dumped_enum(value: object) -> object:
    if isinstance(value, DType):
        return {"dtype": value.name}
    raise TypeError(f"treespec_dumps: a {type(value).__name__} in a context has no form in JSON")


def _dumped(spec: TreeSpec) -> dict[str, Any]:
    if spec.type is None:
        return {"type": None, "context": None, "children_spec": []}
    kind = spec.context if spec.type is namedtuple else spec.type
    children = [_dumped(c) for c in spec.children_specs]
    if spec.type is defaultdict:
        factory, keys = spec.context
        name = None if factory is None else getattr(factory, "__qualname__", repr(factory))
        if factory is not None and getattr(builtins, str(name), None) is not factory:
            raise NotImplementedError(f"treespec_dumps: a defaultdict of {factory!r}; it must be of a builtin class")
        context: Any = {"default_factory": name, "keys": keys}
        return {"type": "collections.defaultdict", "context": json.dumps(context), "children_spec": children}
    written = _WRITTEN.get(kind)
    if written is None:
        raise NotImplementedError(
            f"treespec_dumps: {kind} has no name to be written by; register it with _register_namedtuple or "
            "register_pytree_node"
        )
    if spec.type is namedtuple:
        context = written.name
    else:
        dumped = spec.context if written.to_dumpable is None else written.to_dumpable(spec.context)
        context = json.dumps(dumped, default=_dumped_enum)
    name = "collections.namedtuple" if spec.type is namedtuple else written.name
    return {"type": name, "context": context, "children_spec": children}


def treespec_loads(serialized: str) -> TreeSpec:
    """The structure that :func:`treespec_dumps` wrote; its classes must be registered.

    >>> treespec_loads('[1, {"type": null, "context": null, "children_spec": []}]')
    *
    """
    protocol, written = json.loads(serialized)
    if protocol != _PROTOCOL:
        raise ValueError(f"treespec_loads: the structure has protocol {protocol}, this reads {_PROTOCOL}")
    return _loaded(written)


def _loaded(written: dict[str, Any]) -> TreeSpec:
    name, context = written["type"], written["context"]
    if name is None:
        return _LEAF_SPEC
    children = [_loaded(c) for c in written["children_spec"]]
    if name == "collections.namedtuple":
        return TreeSpec(namedtuple, _registered(context), children)
    read = json.loads(context)
    if name == "collections.defaultdict":
        factory = None if read["default_factory"] is None else vars(builtins).get(read["default_factory"])
        if not isinstance(factory, type | None):
            raise ValueError(f"treespec_loads: {read['default_factory']!r} is no builtin class")
        return TreeSpec(defaultdict, [factory, read["keys"]], children)
    kind = _registered(name)
    back = _WRITTEN[kind].from_dumpable
    return TreeSpec(kind, read if back is None else back(read), children)


def _registered(name: str) -> Any:
    if name not in _READ:
        raise NotImplementedError(f"treespec_loads: {name!r} is not registered in this process")
    return _READ[name]


def treespec_pprint(treespec: TreeSpec) -> str:
    """A structure as the nesting that it is of, with stars for leaves.

    >>> treespec_pprint(tree_structure((1, {"a": 2})))
    "(*, {'a': *})"
    """

    class _Star:
        def __repr__(self) -> str:
            return "*"

    return repr(tree_unflatten([_Star() for _ in range(treespec.num_leaves)], treespec))


def treespec_leaf() -> TreeSpec:
    """The structure of a leaf."""
    return _LEAF_SPEC


def treespec_tuple(iterable: Iterable[TreeSpec] = ()) -> TreeSpec:
    """The structure of a tuple of parts."""
    return TreeSpec(tuple, None, list(iterable))


def treespec_dict(mapping: Any = (), **kwargs: TreeSpec) -> TreeSpec:  # Any: a mapping, or pairs
    """The structure of a dict of parts."""
    parts = cast(dict[Any, TreeSpec], dict(mapping, **kwargs))
    return TreeSpec(dict, list(parts), list(parts.values()))


def pytree_to_str(treespec: TreeSpec) -> str:
    """The old name of :func:`treespec_dumps`."""
    warnings.warn("pytree_to_str is treespec_dumps today", FutureWarning, stacklevel=2)
    return treespec_dumps(treespec)


def str_to_pytree(json: str) -> TreeSpec:
    """The old name of :func:`treespec_loads`."""
    warnings.warn("str_to_pytree is treespec_loads today", FutureWarning, stacklevel=2)
    return treespec_loads(json)


_is_leaf = tree_is_leaf
_is_namedtuple_instance = is_namedtuple_instance
