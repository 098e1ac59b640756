from functools import partial

from host_sim.clock import MANUAL_EPOCH_NS, ManualScheduler, Pace, Priority


def test_time_moves_only_when_told():
    scheduler = ManualScheduler()
    ran = []
    scheduler.call_later(10, lambda: ran.append(scheduler.monotonic_ns()))
    cancelled = scheduler.call_later(5, lambda: ran.append(-1))
    cancelled.cancel()
    scheduler.advance(9.5)
    assert ran == []
    scheduler.advance(10)
    assert ran == [10_000_000]
    assert scheduler.realtime_ns() == MANUAL_EPOCH_NS + 19_500_000


def test_what_falls_due_at_the_same_time_runs_in_order():
    scheduler = ManualScheduler()
    ran: list[int] = []
    for number in range(50):
        scheduler.call_later(5, partial(ran.append, number))
    scheduler.advance(5)
    assert ran == list(range(50))


def test_what_is_added_on_the_way_runs_if_it_is_due():
    scheduler = ManualScheduler()
    ran: list[str] = []

    def first():
        scheduler.call_later(1, lambda: ran.append("second"))

    scheduler.call_later(1, first)
    scheduler.advance(1.5)
    assert ran == []
    scheduler.advance(0.5)
    assert ran == ["second"]


def test_what_arrives_just_in_time_is_in_time():
    scheduler = ManualScheduler()
    ran: list[str] = []
    scheduler.call_later(5, lambda: ran.append("timeout"), Priority.TIMEOUT)

    def ask():
        scheduler.call_later(3, lambda: ran.append("reply"))

    scheduler.call_later(2, ask)
    scheduler.advance(5)
    assert ran == ["reply", "timeout"]


def test_steps_jump_from_event_to_event():
    scheduler = ManualScheduler()
    scheduler.call_later(7, lambda: None).cancel()
    scheduler.call_later(60_000, lambda: None)
    assert scheduler.next_ns == 60_000_000_000
    assert repr(scheduler) == "<0.000 ms, 1 events>"
    assert scheduler.step()
    assert scheduler.monotonic_ns() == 60_000_000_000
    assert not scheduler.step()
    assert scheduler.next_ns is None


def test_time_never_goes_back():
    scheduler = ManualScheduler()
    scheduler.call_later(1, lambda: scheduler.advance(10))
    scheduler.advance(5)
    assert scheduler.monotonic_ns() == 11_000_000


def test_the_same_heap_plays_at_the_pace_of_real_time():
    now_ns = 1_000_000_000  # of a machine that wakes up too early
    slept: list[float] = []

    def sleep_s(duration_s: float) -> None:
        nonlocal now_ns
        slept.append(duration_s)
        now_ns += int(duration_s * 1e9) - (len(slept) == 1) * 1_000_000

    scheduler = ManualScheduler(pace=Pace(lambda: now_ns, sleep_s))
    ran: list[int] = []
    for delay_ms in (5, 2):
        scheduler.call_later(delay_ms, lambda: ran.append(now_ns))
    scheduler.advance(6)
    assert slept == [0.002, 0.001, 0.003, 0.001]
    assert ran == [1_002_000_000, 1_005_000_000]


def test_delays_are_rounded_to_nanoseconds():
    """1.001 * 1e6 is a little less than 1,001,000."""
    scheduler = ManualScheduler()
    scheduler.call_later(4.35, lambda: None)
    scheduler.call_later(1.001, lambda: None)
    times = []
    while scheduler.step():
        times.append(scheduler.monotonic_ns())
    assert times == [1_001_000, 4_350_000]
