"""Levels of forward mode, places in the graph, counted writes, old functions and the profiler's helpers, in torch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.core.leaves import function, leaf
from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)


@case
def enter_dual_level(T: Any) -> Any:
    forward = T.autograd.forward_ad
    level = forward.enter_dual_level()
    try:
        x = forward.make_dual(T.tensor([3.0]), T.tensor([2.0]))
        found = [*forward.unpack_dual(x * x), *forward.unpack_dual(x * x, level=level), forward.unpack_dual(T.ones(1))]
    finally:
        forward.exit_dual_level(level=level)
    return found


@case
def enter_dual_level_twice(T: Any) -> Any:
    forward = T.autograd.forward_ad
    forward.enter_dual_level()
    try:
        return forward.enter_dual_level()
    finally:
        forward.exit_dual_level()


@case
def enter_dual_level_again(T: Any) -> Any:
    forward, found = T.autograd.forward_ad, []
    for tangent in (1.0, 2.0):
        forward.enter_dual_level()
        found.append(forward.unpack_dual(forward.make_dual(T.ones(1), T.tensor([tangent])).exp()).tangent)
        forward.exit_dual_level()
    return found


@case
def exit_dual_level_that_was_not_entered(T: Any) -> Any:
    return T.autograd.forward_ad.exit_dual_level()


@case
def exit_dual_level_of_another(T: Any) -> Any:
    forward = T.autograd.forward_ad
    first = forward.enter_dual_level()
    forward.exit_dual_level()
    return forward.exit_dual_level(level=first)


@case
def UnpackedDualTensor(T: Any) -> Any:
    forward = T.autograd.forward_ad
    with forward.dual_level():
        found = forward.unpack_dual(forward.make_dual(T.ones(1), T.zeros(1)))
    made = forward.UnpackedDualTensor(T.ones(2), None)
    return [type(found) is forward.UnpackedDualTensor, made._fields, tuple(made), made.tangent, found.tangent]


@case
def GradientEdge(T: Any) -> Any:
    graph, x = T.autograd.graph, leaf(T, 2.0, 3.0)
    two = function(T, forward=lambda ctx, t: (t * 2, t * 3), backward=lambda ctx, g, h: 2 * g + 3 * h)
    y, z = two.apply(x)
    edges = [graph.get_gradient_edge(t) for t in (x, y, z)]
    given = graph.GradientEdge(edges[2].node, 1)
    facts = [[type(e) is graph.GradientEdge, e.output_nr] for e in edges]
    same = [
        edges[1].node is edges[2].node,
        given.ownership_token,
        given[:2] == edges[2][:2],
        edges[0].node.variable is x,
        y.grad_fn is edges[1].node,
    ]
    return facts, same, graph.GradientEdge._fields, T.autograd.grad((y + 2 * z).sum(), [*edges[:1], given])


@case
def GradientEdge_to_start_from(T: Any) -> Any:
    x = leaf(T, 2.0, 3.0)
    edge = T.autograd.graph.get_gradient_edge(x.square())
    T.autograd.backward([edge], [T.tensor([1.0, 10.0])])
    return x.grad


@case
def increment_version(T: Any) -> Any:
    x, y = T.ones(2), leaf(T, 1.0)
    z = y * 2
    increment = T.autograd.graph.increment_version
    increment(x)
    increment([x, z, x[:1]])
    increment(y)
    return [x._version, z._version, y._version, T.ones(1)._version, x, z.detach()]


@case
def increment_version_of_what_a_gradient_needs(T: Any) -> Any:
    x = leaf(T, 1.0)
    kept = x.exp()
    y = kept.sum()
    T.autograd.graph.increment_version(kept)
    return y.backward()


@case
def increment_version_of_inference(T: Any) -> Any:
    with T.inference_mode():
        x = T.ones(1)
    T.autograd.graph.increment_version([x, T.ones(1)])
    return x


@case
def set_warn_on_accumulate_grad_stream_mismatch(T: Any) -> Any:
    x = leaf(T, 1.0)
    answers = [T.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(on) for on in (False, True)]
    (x * 3).sum().backward()
    return answers, x.grad


@case
def forward_extended(T: Any) -> Any:
    return T.autograd.function.NestedIOFunction().forward_extended(T.ones(1))


@case
def backward_extended(T: Any) -> Any:
    return T.autograd.function.NestedIOFunction().backward_extended(T.ones(1))


@case
def EnforceUnique(T: Any) -> Any:
    seen = T.autograd.profiler.EnforceUnique()
    seen.see("a", 1)
    seen.see("a", 2)
    before = sorted(seen.seen)
    try:
        seen.see("a", 1)
    except RuntimeError as error:
        return before, str(error)


@case
def KinetoStepTracker(T: Any) -> Any:
    tracker = T.autograd.profiler.KinetoStepTracker
    begun = tracker.current_step()
    tracker.init_step_count("one")
    found = [tracker.increment_step("one"), tracker.increment_step("other"), tracker.increment_step("other")]
    found += [tracker.increment_step("one"), tracker.increment_step("one"), tracker.current_step()]
    erased = [tracker.erase_step_count(name) for name in ("one", "one", "other")]
    after = [tracker.current_step(), tracker.increment_step("third"), tracker.erase_step_count("third")]
    return [n - begun for n in found], erased, [n - begun for n in after[:2]]


@case
def emit_nvtx(T: Any) -> Any:
    with T.autograd.profiler.emit_nvtx(enabled=False, record_shapes=True) as made:
        found = T.ones(2).exp()
    return made is None, found


@case
def emit_itt(T: Any) -> Any:
    with T.autograd.profiler.emit_itt(enabled=False) as made:
        found = T.ones(2).exp()
    return made is None, found


@case
def in_interval(T: Any) -> Any:
    starts = [30, 10, 20, 10]
    records = [(SimpleNamespace(start_ns=lambda at=at: at), i) for i, at in enumerate(starts)]
    found = T.autograd.profiler.MemRecordsAcc(records)
    intervals = [(10, 20), (11, 30), (31, 40), (0, 9), (0, 100)]
    return [[i for _, i in found.in_interval(*bounds)] for bounds in intervals]


@case
def MemRecordsAcc_of_nothing(T: Any) -> Any:
    return list(T.autograd.profiler.MemRecordsAcc([]).in_interval(0, 1))
