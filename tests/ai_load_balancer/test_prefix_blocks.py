"""The keys of a prompt's prefixes: equal as far as two prompts are equal, and nowhere else."""

import hashlib

import pytest
from ai_load_balancer.policies.prefix_blocks import BLOCK_BYTES, MAX_BLOCKS, block_keys, prefix_scope
from hypothesis import given, settings
from hypothesis import strategies as st

SCOPE = prefix_scope(b"route", b"cluster", b"model")


def keys(*segments: bytes, scope: bytes = SCOPE) -> list[bytes]:
    return block_keys(b"prefix:", scope, segments)


def common(one: list[bytes], other: list[bytes]) -> int:
    """How many keys are equal from the start on; none is equal behind."""
    equal = [a == b for a, b in zip(one, other, strict=False)]
    count = equal.index(False) if False in equal else len(equal)
    assert not set(one[count:]) & set(other)
    return count


def test_every_build_makes_the_same_keys():
    first, second = (hashlib.md5(b"5:route7:cluster5:model0:" + prompt).digest() for prompt in (b"a", b"ab"))
    assert keys(b"a", b"b") == [b"prefix:" + first, b"prefix:" + second]


@pytest.mark.shows("defect 6")
def test_the_order_matters():
    assert common(keys(b"a", b"b"), keys(b"b", b"a")) == 0


@pytest.mark.shows("defect 6")
def test_a_repetition_is_not_nothing():
    assert len(set(keys(b"a", b"a", b"a"))) == 3
    assert common(keys(b"a", b"a"), keys(b"b", b"b")) == 0


def test_a_long_segment_is_cut_into_blocks_and_each_has_a_key():
    whole = b"x" * (3 * BLOCK_BYTES + 1)
    assert len(keys(whole)) == 4
    assert common(keys(whole), keys(whole[:-1] + b"y")) == 3
    assert common(keys(whole), keys(b"y" + whole[1:])) == 0
    assert common(keys(b"first", whole), keys(b"first", whole + b"more")) == 4


@pytest.mark.shows("defect 6")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((b"route", b"cluster", b"model"), (b"route2", b"cluster", b"model")),
        ((b"route", b"cluster", b"model"), (b"route", b"cluster2", b"model")),
        ((b"route", b"cluster", b"model"), (b"route", b"cluster", b"model2")),
        ((b"route", b"cluster", b"model"), (b"route", b"cluster", b"model", b"tenant")),
        ((b"route", b"cluster", b"model", b"one"), (b"route", b"cluster", b"model", b"two")),
        ((b"ab", b"c", b""), (b"a", b"bc", b"")),
        ((b"a", b"1:b", b""), (b"a1:", b"b", b"")),
    ],
)
def test_another_scope_has_other_keys(one, other):
    assert common(keys(b"a", b"b", scope=prefix_scope(*one)), keys(b"a", b"b", scope=prefix_scope(*other))) == 0


def test_the_number_of_blocks_is_bounded():
    many = [b"%d" % i for i in range(2 * MAX_BLOCKS)]
    assert len(keys(*many)) == MAX_BLOCKS
    assert keys(*many) == keys(*many[:MAX_BLOCKS])
    long = bytes(2 * MAX_BLOCKS * BLOCK_BYTES)
    assert len(keys(long)) == len(keys(b"a", long)) == len(keys(b"a", long, b"b")) == MAX_BLOCKS


def test_no_text_is_in_a_key():
    assert all(len(key) == len(b"prefix:") + 16 and b"secret" not in key for key in keys(b"secret", b"secret" * 1000))


SEGMENTS = st.lists(st.sampled_from([b"a", b"b", b"ab", b"x" * BLOCK_BYTES, b"x" * (BLOCK_BYTES + 5)]), max_size=6)


@settings(deadline=None)
@given(SEGMENTS, SEGMENTS, SEGMENTS)
def test_two_prompts_share_the_keys_of_what_they_share(shared, one, other):
    shared_keys = keys(*shared)
    ones, others = keys(*shared, b"1", *one), keys(*shared, b"2", *other)
    assert ones[: len(shared_keys)] == others[: len(shared_keys)] == shared_keys
    assert common(ones, others) == len(shared_keys)
    assert len(set(ones)) == len(ones)
