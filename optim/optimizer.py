"""The base of optimizers: parameter groups, state, and its way in and out of files."""

from __future__ import annotations

import copy
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypedDict, TypeVar, cast, overload

from flambeau.core import dtype as dt
from flambeau.core import registry
from flambeau.core.accelerator import mark_step
from flambeau.core.blame import users_level
from flambeau.core.events import host, recorder, rely
from flambeau.core.exchange import host_device
from flambeau.core.from_data import tensor
from flambeau.core.graph import Handle
from flambeau.core.ops.nn.step import run as run_step
from flambeau.core.ops.nn.step import update
from flambeau.core.state import enable_grad, no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.hooks import add
from flambeau.optim.helpers import (
    _default_to_fused_or_foreach,
    _dispatch_sqrt,
    _get_scalar_dtype,
    _get_value,
    _stack_if_compiling,
    _to_scalar,
    _use_grad_for_differentiable,
    _view_as_real,
)  # fmt: skip
from flambeau.optim.loading import finite, like, mapping, shown
from flambeau.optim.numbers import Group, State, read
from flambeau.optim.options import Params, check
from flambeau.optim.relied import structure

if TYPE_CHECKING:
    from flambeau.core.expr import Rule  # lazy for start-up

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
StepHook = Callable[["Optimizer", tuple[Any, ...], dict[str, Any]], Arguments | None]

__all__ = [
    "Group", "Optimizer", "State", "_default_to_fused_or_foreach", "_dispatch_sqrt", "_get_scalar_dtype", "_get_value",
    "_stack_if_compiling", "_to_scalar", "_use_grad_for_differentiable", "_view_as_real",
    "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook", "required", "runner",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class StateDict(TypedDict):
    """Torch's form of an optimizer's state: parameters are numbers, in the order of the groups."""

    state: dict[int, State]
    param_groups: list[Group]


StateHook = Callable[["Optimizer", StateDict], StateDict | None]


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required: Final = _Required()


#: Hooks on every optimizer, which come after its own pre-hooks and before its own post-hooks.
_global_optimizer_pre_hooks: dict[int, StepHook] = {}
_global_optimizer_post_hooks: dict[int, StepHook] = {}


def register_optimizer_step_pre_hook(hook: StepHook) -> Handle:
    """Call ``hook(optimizer, args, kwargs)`` before each step of any optimizer; it may return other (args, kwargs)."""
    return Handle.into(_global_optimizer_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: StepHook) -> Handle:
    """Call ``hook(optimizer, args, kwargs)`` after each step of any optimizer."""
    return Handle.into(_global_optimizer_post_hooks, hook)


def _with_hooks(step: F) -> F:
    """A step method that counts its calls and runs the hooks around them.

    Optimizers that wrap another one and never call ``super().__init__`` have no hooks of their own.
    """

    @wraps(step)
    def hooked(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        own = self.__dict__
        if recorder() is not None:
            rely(structure, self, _global_optimizer_pre_hooks, _global_optimizer_post_hooks)
        before, after = own.get("_optimizer_step_pre_hooks"), own.get("_optimizer_step_post_hooks")
        if before or _global_optimizer_pre_hooks:
            for hook in [*(before or {}).values(), *_global_optimizer_pre_hooks.values()]:
                replaced = hook(self, args, kwargs)
                if replaced is not None:
                    args, kwargs = replaced
        result = step(self, *args, **kwargs)
        host(_count, own)
        if after or _global_optimizer_post_hooks:
            for hook in [*(after or {}).values(), *_global_optimizer_post_hooks.values()]:
                hook(self, args, kwargs)
        if registry.lazy:
            host(self._mark_step)
        return result

    hooked._is_hooked = hooked.hooked = True  # type: ignore[attr-defined]
    return cast(F, hooked)


def _count(own: dict[str, Any]) -> None:
    own["_step_count"] = own.get("_step_count", 0) + 1


@cache
def _zeroed() -> Rule:
    from flambeau.core.expr import Rule  # lazy for start-up

    return Rule(("g",), (), (("g", "0"),))


class Optimizer:
    """Changes parameters by their gradients.

    ``params`` is an iterable of tensors, of (name, tensor) pairs, or of dicts with "params" and options of their
    own. A subclass overrides :meth:`update` (or, as in torch, :meth:`step`).

    >>> w = fb.tensor([1.0], requires_grad=True)
    >>> class Plain(fb.optim.Optimizer):
    ...     def __init__(self, params, lr):
    ...         super().__init__(params, dict(lr=lr))
    ...     def step(self, closure=None):
    ...         with fb.no_grad():
    ...             for group in self.param_groups:
    ...                 for p in group["params"]:
    ...                     p.sub_(p.grad, alpha=group["lr"])
    >>> optimizer = Plain([w], lr=0.1)
    >>> (w * 2).sum().backward()
    >>> optimizer.step()
    >>> w.item()
    0.800000011920929
    """

    OptimizerPreHook: ClassVar[Any] = StepHook
    OptimizerPostHook: ClassVar[Any] = Callable[["Optimizer", tuple[Any, ...], dict[str, Any]], None]
    profile_hook_step = staticmethod(_with_hooks)
    _step_count: int = 0
    #: The names of what :meth:`advance` gives.
    numbers: ClassVar[tuple[str, ...]] = ("step",)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.get("step")
        if own is not None and not getattr(own, "_is_hooked", False):
            cls.step = _with_hooks(own)  # type: ignore[method-assign]

    def __init__(self, params: Params, defaults: dict[str, Any]):
        self.defaults = defaults
        self._make_hooks()
        lr = defaults.get("lr")
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"{type(self).__name__}: a Tensor lr must be 1-element, got shape {tuple(lr.shape)}")
        if defaults.get("foreach") and defaults.get("fused"):
            raise RuntimeError(f"{type(self).__name__}: `fused` and `foreach` cannot be `True` together.")
        if isinstance(params, Tensor) or not isinstance(params, Iterable):
            got = "one Tensor; put it in a list" if isinstance(params, Tensor) else type(params).__name__
            hint = "; give its parameters()" if hasattr(params, "parameters") else ""
            raise TypeError(f"{type(self).__name__}: params should be an iterable of Tensors or dicts, got {got}{hint}")
        self.state: defaultdict[Tensor, State] = defaultdict(dict)
        self.param_groups: list[Group] = []
        members = list(params)
        if not members:
            raise ValueError(f"{type(self).__name__}: got an empty parameter list")
        for group in members if isinstance(members[0], dict) else [{"params": members}]:
            self.add_param_group(cast(Group, group))

    def _make_hooks(self) -> None:
        self._step_count = 0
        self._optimizer_step_pre_hooks: dict[int, StepHook] = {}
        self._optimizer_step_post_hooks: dict[int, StepHook] = {}
        self._optimizer_state_dict_pre_hooks: dict[int, Callable[[Optimizer], None]] = {}
        self._optimizer_state_dict_post_hooks: dict[int, StateHook] = {}
        self._optimizer_load_state_dict_pre_hooks: dict[int, StateHook] = {}
        self._optimizer_load_state_dict_post_hooks: dict[int, Callable[[Optimizer], None]] = {}

    # -- groups ----------------------------------------------------------------------------------
    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with options of their own; options that are not given take the defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group).__name__}")
        group = dict(param_group)
        given = group["params"]
        if isinstance(given, (set, frozenset)):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but a set's order changes; use a "
                "list"
            )
        members = [given] if isinstance(given, Tensor) else list(given)
        members = self._named(group, members)
        for p in members:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor: it is computed from others; optimize those")
        group["params"] = members
        for name, default in self.defaults.items():
            if default is required and name not in group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            group.setdefault(name, default)
        if len({id(p) for p in members}) != len(members):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters, each of which takes several steps at "
                "once",
                stacklevel=users_level(),
            )
        seen = {id(p) for g in self.param_groups for p in g["params"]}
        if any(id(p) in seen for p in members):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(group)

    def _named(self, group: Group, members: list[Any]) -> list[Any]:
        """The parameters of a group, of which all or none have names, as those of the other groups."""
        names = [isinstance(m, tuple) for m in members]
        if any(names):
            if not all(names):
                raise ValueError("all optimizer params should be with/without names; some param names are missing")
            group["param_names"] = [name for name, _ in members]
            members = [p for _, p in members]
        if self.param_groups and ("param_names" in self.param_groups[0]) != ("param_names" in group):
            raise ValueError("all optimizer param groups should be with/without names")
        return members

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero."""
        for group in self.param_groups:
            grads = [] if set_to_none else [p.grad for p in group["params"] if p.grad is not None]
            if grads and update(_zeroed(), [grads], (), "zero_"):
                continue
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad = p.grad.detach().zero_()

    # -- steps -----------------------------------------------------------------------------------
    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], T]) -> T: ...
    @_with_hooks
    def step(self, closure: Callable[[], T] | None = None) -> T | None:
        """One step; ``closure`` computes the loss again with gradients, and its result is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with enable_grad() if self.defaults.get("differentiable") else no_grad():
            for group in self.param_groups:
                self.update(read(group, self.defaults))
        return loss

    def advance(self, state: State, group: Group) -> tuple[float, ...]:
        """Take the numbers in a parameter's state one step further: those that this step computes with."""
        state["step"] = count = state.get("step", 0.0) + 1
        return (count,)

    def _cuda_graph_capture_health_check(self) -> None:
        """Nothing is captured in graphs: there is nothing to look at."""

    @property
    def _opt_called(self) -> bool:
        """Whether a step was taken, under the name by which schedules of old know it."""
        return self._step_count > 0

    def _refuse_sparse(self, p: Tensor) -> None:
        """Of a parameter whose gradient is sparse, an error."""
        raise RuntimeError(f"{type(self).__name__} does not support sparse gradients, please consider SparseAdam")

    def _mark_step(self) -> None:
        """Tell the devices of the parameters, if they run work later, that a step ended."""
        for device in {p._key.device for group in self.param_groups for p in group["params"]}:
            if device.backend in registry.lazy:
                mark_step(device)

    def update(self, group: Group) -> None:
        """Change the parameters of one group by their gradients; runs without recording."""
        raise NotImplementedError(f"{type(self).__name__} must define update(group) or step(closure)")

    def register_step_pre_hook(self, hook: StepHook) -> Handle:
        """Call ``hook(optimizer, args, kwargs)`` before each step; it may return other (args, kwargs)."""
        return Handle.into(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: StepHook) -> Handle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return Handle.into(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable[[Optimizer], None], prepend: bool = False) -> Handle:
        """Call ``hook(optimizer)`` before state_dict."""
        return add(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: StateHook, prepend: bool = False) -> Handle:
        """Call ``hook(optimizer, state_dict)`` after it; it may return another."""
        return add(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: StateHook, prepend: bool = False) -> Handle:
        """Call ``hook(optimizer, state_dict)`` before loading; it may return another."""
        return add(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[[Optimizer], None], prepend: bool = False) -> Handle:
        """Call ``hook(optimizer)`` after loading."""
        return add(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # -- saving ----------------------------------------------------------------------------------
    def state_dict(self) -> StateDict:
        """In torch's form: state by the parameter's number, and the groups with numbers for parameters."""
        for prepare in list(self._optimizer_state_dict_pre_hooks.values()):
            prepare(self)
        numbers = {id(p): i for i, p in enumerate(self._all())}
        state = {numbers[id(p)]: _packed(s) for p, s in self.state.items() if id(p) in numbers}
        groups = [{**g, "params": [numbers[id(p)] for p in g["params"]]} for g in self.param_groups]
        found: StateDict = {"state": state, "param_groups": groups}
        for hook in list(self._optimizer_state_dict_post_hooks.values()):
            found = hook(self, found) or found
        return found

    def _all(self) -> Iterable[Tensor]:
        return (p for g in self.param_groups for p in g["params"])

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over state and options; state tensors move to their parameter's dtype and device.

        Raises:
            TypeError, ValueError: something is missing or of the wrong kind; nothing has changed then.
        """
        loaded = state_dict
        for hook in list(self._optimizer_load_state_dict_pre_hooks.values()):
            loaded = hook(self, cast(StateDict, dict(loaded))) or loaded
        self._take_over(loaded)
        for finish in list(self._optimizer_load_state_dict_post_hooks.values()):
            finish(self)

    def _take_over(self, state_dict: object) -> None:
        name = f"{type(self).__name__}.load_state_dict"
        loaded = mapping(state_dict, f"{name}: state_dict", ("state", "param_groups"))
        groups = self._checked_groups(loaded["param_groups"], name)
        numbers = [n for g in groups for n in g["params"]]
        by_number = dict(zip(numbers, self._all(), strict=True))
        group_of = {n: {**own, **g} for own, g in zip(self.param_groups, groups, strict=True) for n in g["params"]}
        state: defaultdict[Any, State] = defaultdict(dict)
        for key, values in mapping(loaded["state"], f"{name}: state").items():
            n = int(key) if key not in by_number and isinstance(key, str) and key.isdecimal() and len(key) < 20 else key
            p, what = by_number.get(n), f"{name}: the state of parameter {shown(key)}"
            mapping(values, what)
            if p is not None:
                self._check_state(p, values, group_of[n], what)
            state[n if p is None else p] = {k: _unpacked(k, v, p, what) for k, v in values.items()}
        self.state = state
        for s, g in zip(groups, self.param_groups, strict=True):
            g.update({k: v for k, v in s.items() if k not in ("params", "param_names")})

    def _checked_groups(self, saved: Any, name: str) -> list[Group]:
        own = self.param_groups
        if not isinstance(saved, (list, tuple)):
            raise TypeError(f"{name}: param_groups must be a list of dicts, got {shown(saved)}")
        if len(saved) != len(own):
            raise ValueError(f"{name}: loaded state dict has {len(saved)} parameter groups, the optimizer {len(own)}")
        groups: list[Group] = []
        for i, (s, g) in enumerate(zip(saved, own, strict=True)):
            params = mapping(s, f"{name}: param_groups[{i}]", ("params",))["params"]
            if not isinstance(params, (list, tuple)) or not all(isinstance(n, (int, str)) for n in params):
                raise TypeError(f"{name}: 'params' of param_groups[{i}] must be a list of numbers, got {shown(params)}")
            if len(params) != len(g["params"]):
                raise ValueError(
                    f"{name}: loaded state dict contains a parameter group that doesn't match the size of optimizer's "
                    f"group: group {i} has {len(params)} parameters there and {len(g['params'])} here"
                )
            groups.append(self._checked_options(g, copy.deepcopy(dict(s)), f"{name}: param_groups[{i}]"))
        counts = Counter(n for g in groups for n in g["params"])
        twice = [n for n, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"{name}: parameter {shown(twice[0])} stands twice in param_groups")
        return groups

    def _checked_options(self, own: Group, saved: Group, what: str) -> Group:
        for option in own.keys() & saved.keys() - {"params", "param_names"}:
            saved[option] = like(own[option], saved[option], f"{what}[{option!r}]")
        for cls in type(self).__mro__:
            if cls.__module__.startswith(__package__) and "__init__" in vars(cls):
                try:
                    check(cls, {**own, **saved})
                except ValueError as error:
                    raise ValueError(f"{what}: {error}") from None
        return saved

    def _check_state(self, p: Tensor, values: Mapping[Any, Any], group: Group, what: str) -> None:
        """Whether the rule can go on from the state of ``p``."""
        expected = self._expected(p, values, group) if values else {}
        for key in expected if mapping(values, what, expected) else ():
            value = values[key]
            if isinstance(expected[key], Tensor) and (
                not isinstance(value, Tensor) or tuple(value.shape) != tuple(expected[key].shape)
            ):
                raise ValueError(
                    f"{what}: {key!r} must be a tensor of shape {tuple(expected[key].shape)}, got {shown(value)}"
                )

    def _expected(self, p: Tensor, values: Mapping[Any, Any], group: Group) -> State:
        """What the state ``values`` of ``p`` must have to go on from, with tensors of the right shapes."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._make_hooks()
        self.__dict__.update(state)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines += [
                *([""] if i else []),
                f"Parameter Group {i}",
                *(f"    {k}: {group[k]}" for k in sorted(group) if k != "params"),
            ]
        return "\n".join([*lines, ")"])


def runner(group: Group) -> Callable[..., Any]:
    """What runs the record of a step: its kernel, or with ``differentiable`` its body of recorded ops."""
    return _run_recorded if group.get("differentiable") else run_step


def _run_recorded(function: Any, lists: Iterable[Any], *scalars: float, **params: bool) -> None:
    function.op.body(*lists, *scalars, **params)


#: State that is numbers here and tensors of one element in torch's files.
NUMBERS: Final = frozenset({"step", "mu_product", "eta", "mu"})


def _packed(state: State) -> State:
    """State as torch writes it; products and rates keep all their digits, so that what is loaded goes on the same."""
    kinds = {k: dt.float32 if k == "step" else dt.float64 for k in NUMBERS}
    return {k: tensor(float(v), dtype=kinds[k], device=host_device()) if k in kinds and not isinstance(v, Tensor) else v
            for k, v in state.items()}  # fmt: skip


def _unpacked(name: str, value: Any, param: Tensor | None, what: str) -> Any:
    if name in NUMBERS:
        found = float(finite(value, f"{what}: {name!r}"))
        if name == "step" and found < 0:
            raise ValueError(f"{what}: 'step' must be 0 or more, got {found}")
        return found
    if isinstance(value, Tensor) and param is not None:
        floats = min(param.dtype.category, value.dtype.category) >= dt.FLOATING
        wanted = param.dtype if floats else value.dtype
        return value.detach().to(device=param.device, dtype=wanted, copy=True)
    return copy.deepcopy(value)
