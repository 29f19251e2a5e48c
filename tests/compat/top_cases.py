"""What ``torch`` itself has beside tensors: tags, checks and what its build says, in the torch API."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, answer, collected

CASES: dict[str, Case] = {
    "compiled_with_cxx11_abi": lambda T: T.compiled_with_cxx11_abi(),
}
case = collected(CASES)

TAGS = """
    core cudagraph_unsafe data_dependent_output dynamic_output_shape flexible_layout generated inplace inplace_view
    maybe_aliasing_or_mutating needs_contiguous_strides needs_exact_strides needs_fixed_stride_order
    nondeterministic_bitwise nondeterministic_seeded out out_variant pointwise pt2_compliant_tag reduction view_copy
"""


@case
def tags(T: Any) -> Any:
    held = [getattr(T.Tag, name) for name in TAGS.split()]
    return [
        [[tag.name, tag.value, isinstance(tag, T.Tag), held.index(tag), T.Tag(tag.value) == tag] for tag in held],
        len(set(held)),
        sorted(T.Tag.__members__),
        answer(T, lambda T: T.Tag.no_such_tag),
    ]


@case
def assert_(T: Any) -> Any:
    good = (True, 1, "a", T.tensor(True), T.tensor([2.0]))
    bad = (False, 0, "", None, T.tensor(False), T.tensor([0.0]), T.ones(2))
    return [[T._assert(v, "no") for v in good], [answer(T, lambda T, v=v: T._assert(v, "no")) for v in bad]]


@case
def assert_says_its_message(T: Any) -> Any:
    try:
        T._assert(T.tensor(False), "the sizes differ")
    except AssertionError as error:
        return str(error)
    return None
