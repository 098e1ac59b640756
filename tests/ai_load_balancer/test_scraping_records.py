"""What workers tell each other of scraped endpoints, and whose turn it is to scrape."""

import pytest
from ai_load_balancer import turns as turns_module
from ai_load_balancer.policies.endpoint_metrics import Endpoint
from ai_load_balancer.policies.metrics_text import NO_LORA, Lora, Metrics
from ai_load_balancer.scraping_records import (
    FAILURES_MAX,
    Record,
    Scraped,
    decoded,
    encoded,
    view_of,
    with_addresses,
    with_scraped,
)
from ai_load_balancer.turns import Turns
from hypothesis import given
from hypothesis import strategies as st
from proxywasm.errors import CasMismatch

NOW_MS = 1.8e12
A, B = "10.0.0.1:80", "10.0.0.2:80"


def endpoint(address, text=1, at_ms=NOW_MS, waiting=0.0):
    return Endpoint(address, Metrics(waiting), text, at_ms)


def answered(address, **options):
    return Scraped(address, endpoint(address, **options))


def failed(address):
    return Scraped(address, None)


def ages(records):
    return dict(zip(view_of(records).addresses, view_of(records).healthy_at_ms, strict=True))


def test_the_first_endpoints_are_not_new_and_later_ones_are():
    records = with_scraped(with_addresses({}, [A]), [answered(A)])
    assert ages(records) == {A: None}
    records = with_scraped(with_addresses(records, [A, B]), [answered(B, at_ms=NOW_MS + 5)])
    assert ages(records) == {A: None, B: NOW_MS + 5}
    records = with_scraped(records, [answered(B, text=2, at_ms=NOW_MS + 6)])
    assert ages(records) == {A: None, B: NOW_MS + 5}


def test_one_that_does_not_answer_keeps_its_metrics_for_some_scrapes():
    records = with_scraped(with_addresses({}, [A, B]), [answered(A), answered(B)])
    for _ in range(FAILURES_MAX - 1):
        records = with_scraped(records, [failed(A)])
        assert view_of(records).addresses == (A, B)
    records = with_scraped(records, [failed(A)])
    assert view_of(records).addresses == (B,)
    assert with_scraped(records, [failed(A)]) == records
    assert ages(with_scraped(records, [answered(A, at_ms=NOW_MS + 9)])) == {A: NOW_MS + 9, B: None}


def test_failures_count_in_a_row():
    records = with_addresses({}, [A])
    for _ in range(3 * FAILURES_MAX):
        records = with_scraped(records, [failed(A), answered(A)])
    assert records[A].failures == 0


def test_an_equal_text_keeps_the_time_when_it_was_seen_first():
    records = with_scraped(with_addresses({}, [A]), [answered(A), answered(A, at_ms=NOW_MS + 5)])
    assert view_of(records).scrapes.scraped_at_ms == [NOW_MS]
    records = with_scraped(records, [answered(A, text=2, at_ms=NOW_MS + 5)])
    assert view_of(records).scrapes.scraped_at_ms == [NOW_MS + 5]


def test_one_that_has_left_is_forgotten_whatever_it_still_answers():
    records = with_scraped(with_addresses({}, [A, B]), [answered(A), answered(B)])
    assert view_of(with_scraped(with_addresses(records, [B]), [answered(A)])).addresses == (B,)


names = st.text(st.sampled_from('a1.:"é模\ud800'), max_size=9)
amounts = st.none() | st.floats(0, 1e9)
metrics = st.none() | st.builds(
    Metrics,
    amounts,
    amounts,
    amounts,
    st.just(NO_LORA) | st.builds(Lora, st.frozensets(names, min_size=1), st.integers(0, 100)),
    amounts,
)
times = st.floats(0, 1e15)


@st.composite
def record_items(draw):
    address = draw(names)
    failures = draw(st.integers(0, FAILURES_MAX))
    known = st.builds(Endpoint, st.just(address), metrics, st.integers(0, 2**32 - 1), times, st.none() | times)
    return address, Record(failures, draw(st.none() | known))


@given(st.lists(record_items()).map(dict))
def test_what_is_told_is_understood(records):
    assert decoded(encoded(records)) == records


@given(st.binary())
def test_junk_is_no_record(junk):
    assert decoded(junk) == {}


class SharedData:
    """proxywasm.shared_data of one key."""

    def __init__(self):
        self.value: tuple[bytes, int] | None = None
        self.before_set = lambda: None

    def get(self, key):
        return self.value

    def set(self, key, value, cas=0):
        self.before_set()
        current = self.value[1] if self.value else 0
        if cas and cas != current:
            raise CasMismatch("set_shared_data", 8)
        self.value = value, current + 1


@pytest.fixture
def shared(monkeypatch):
    shared = SharedData()
    monkeypatch.setattr(turns_module, "shared_data", shared)
    return shared


def test_there_is_one_turn_in_an_interval_whoever_takes_it(shared):
    workers = [Turns(b"key", 1000) for _ in range(4)]
    taken = [(now, number) for now in range(10_000, 20_000, 250) for number in range(4) if workers[number].take(now)]
    assert [now for now, _ in taken] == list(range(10_000, 20_000, 1000))


def test_a_timer_may_fire_a_little_too_early(shared):
    turns = Turns(b"key", 1000)
    assert turns.take(10_000)
    assert not turns.take(10_899)
    assert turns.take(10_900)


def test_a_turn_is_not_lost_for_ever_when_the_clock_is_set_back(shared):
    turns = Turns(b"key", 1000)
    assert turns.take(10_000_000)
    assert turns.take(5_000)
    assert not turns.take(5_500)


def test_who_is_too_late_has_no_turn(shared):
    rivals = Turns(b"key", 1000), Turns(b"key", 1000)
    assert rivals[0].take(10_000)

    def overtake():
        shared.before_set = lambda: None
        assert rivals[1].take(11_000)

    shared.before_set = overtake
    assert not rivals[0].take(11_000)
