"""The Philox definition against published vectors, the samplers' definitions, and Generator's state."""

import copy
import math
import os
import pickle
import statistics
import threading
import warnings

import pytest

from flambeau.core import generator
from flambeau.core import random as fr

ONES = 0xFFFFFFFF

# kat_vectors of the Random123 distribution (D. E. Shaw Research): counter, key, rounds, result
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), 7, (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)),
    ((ONES,) * 4, (ONES,) * 2, 7, (0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        7,
        (0x4DFCCABA, 0x190A87F0, 0xC47362BA, 0xB6B5242A),
    ),
    ((0, 0, 0, 0), (0, 0), 10, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, 10, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        10,
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "rounds", "expected"), KNOWN_ANSWERS)
def test_known_answers(counter, key, rounds, expected):
    assert fr.philox4x32(counter, key, rounds) == expected


def test_words_continue_from_block_to_block():
    words = fr.random_words(seed=5, offset=3, length=11)
    assert words[4:8] == list(fr.philox4x32((4, 0, 0, 0), (5, 0)))
    assert fr.random_words(5, 4, 7) == words[4:]


def test_seed_and_offset_use_all_64_bits():
    seed, offset = 0x0123456789ABCDEF, 0xFEDCBA9876543210
    expected = fr.philox4x32((0x76543210, 0xFEDCBA98, 0, 0), (0x89ABCDEF, 0x01234567))
    assert fr.random_words(seed, offset, 4) == list(expected)


def test_counter_wraps_at_64_bits():
    assert fr.random_words(1, 2**64 - 1, 8)[4:] == fr.random_words(1, 0, 4)


@pytest.mark.parametrize("bits", fr.UNIFORM_BITS.values())
def test_uniform_stays_below_one(bits):
    top = fr.uniform(ONES, bits) if bits <= 32 else fr.uniform_double(ONES, ONES)
    assert top == 1 - 2.0**-bits


def test_uniform_double_has_53_bits():
    assert fr.uniform_double(0, 1 << 6) == 2.0**-53
    assert fr.uniform_double(1 << 5, 0) == 2.0**-27


def test_normal_pair_is_finite_at_the_ends_and_standard_in_the_middle():
    assert fr.normal_pair(0.0, 0.5) == (0.0, 0.0)
    assert all(math.isfinite(v) for v in fr.normal_pair(fr.uniform(ONES), 0.25))
    words = fr.random_words(seed=11, offset=0, length=4000)
    values = [v for i in range(0, 4000, 2) for v in fr.normal_pair(fr.uniform(words[i]), fr.uniform(words[i + 1]))]
    assert abs(statistics.fmean(values)) < 0.05
    assert abs(statistics.pstdev(values) - 1) < 0.05


@pytest.mark.parametrize("span", [1, 2, 10, 2**32 - 1, 2**32, 2**63, 2**64])
def test_uniform_int_covers_its_range(span):
    assert fr.uniform_int(0, 0, span) == 0
    assert fr.uniform_int(ONES, ONES, span) == span - 1
    if span <= 2**32:
        first, second = 0x9E3779B9, 0x7F4A7C15
        assert fr.uniform_int(first, second, span) == (first * span + (second * span >> 32)) >> 32


def test_sort_key_is_signed():
    assert fr.sort_key(ONES, ONES) == -1
    assert fr.sort_key(0x7FFFFFFF, ONES) == 2**63 - 1


def test_permutation_is_one():
    order = fr.permutation(seed=3, offset=9, length=50)
    assert sorted(order) == list(range(50))
    assert order != fr.permutation(seed=4, offset=9, length=50)


def test_generator_reserves_whole_blocks():
    g = generator.Generator().manual_seed(1)
    assert [g.reserve(n) for n in (1, 4, 5, 0, 8)] == [0, 1, 2, 4, 4]
    assert g.state == (1, 6)
    assert g.draw(1) == (1, 6)
    assert g.get_offset() == 7


@pytest.mark.parametrize(("given", "kept"), [(0, 0), (-1, 2**64 - 1), (-(2**63), 2**63), (2**64 - 1, 2**64 - 1)])
def test_seed_range(given, kept):
    assert generator.Generator().manual_seed(given).initial_seed() == kept


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_seed_out_of_range(seed):
    with pytest.raises(ValueError, match=r"manual_seed: seed must be in \[-2\*\*63, 2\*\*64\)"):
        generator.Generator().manual_seed(seed)


def test_seed_of_wrong_type():
    with pytest.raises(TypeError, match="manual_seed: seed must be an int, got None"):
        generator.Generator().manual_seed(None)


def test_new_generators_agree_and_seed_makes_them_differ():
    a, b = generator.Generator(), generator.Generator()
    assert a.state == b.state
    assert a.seed() == a.initial_seed() != b.seed()


def test_offset_can_be_set():
    g = generator.Generator().manual_seed(2)
    g.set_offset(10)
    assert g.reserve(1) == 10
    with pytest.raises(ValueError, match="offset must not be negative, got -1"):
        g.set_offset(-1)


def test_copies_go_on_alone():
    g = generator.Generator().manual_seed(21)
    g.reserve(3)
    for twin in (g.clone_state(), copy.deepcopy(g), pickle.loads(pickle.dumps(g))):
        assert twin.state == g.state
        twin.reserve(4)
        assert twin.state != g.state


def test_threads_never_share_a_counter():
    g, taken = generator.Generator().manual_seed(0), []
    threads = [threading.Thread(target=lambda: taken.extend([g.reserve(5) for _ in range(2000)])) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(taken) == list(range(0, 16000, 2))


def test_state_tensor_round_trip():
    g = generator.Generator().manual_seed(0x0123456789ABCDEF)
    g.reserve(9)
    state = g.get_state()
    assert state.tolist() == [0xEF, 0xCD, 0xAB, 0x89, 0x67, 0x45, 0x23, 0x01, 3, 0, 0, 0, 0, 0, 0, 0]
    assert generator.Generator().set_state(state).state == g.state


@pytest.mark.parametrize("wrong", [[1, 2, 3], [300] * 16])
def test_wrong_state(wrong):
    with pytest.raises(ValueError, match="new_state must be the uint8 tensor of 16 elements"):
        generator.Generator().set_state(wrong)


def test_default_generator_functions():
    with generator.fork_rng():
        assert generator.manual_seed(5) is generator.default_generator
        assert generator.initial_seed() == 5
        state = generator.get_rng_state()
        generator.default_generator.reserve(100)
        generator.set_rng_state(state)
        assert generator.default_generator.state == (5, 0)
        assert generator.seed() == generator.initial_seed()


def test_fork_rng_puts_the_state_back():
    before = generator.default_generator.state
    with pytest.raises(KeyError), generator.fork_rng():
        generator.manual_seed(99)
        raise KeyError
    assert generator.default_generator.state == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_forked_child_can_draw_while_the_parent_was_drawing():
    """It goes on from the parent's state, as in PyTorch; the lock of a thread that is not there does not stop it."""
    default = generator.default_generator
    with generator.fork_rng(), default._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        child = os.fork()
        if child == 0:
            os._exit(0 if default.reserve(4) >= 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
