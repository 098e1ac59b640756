from functools import partial

from host_sim.clock import MANUAL_EPOCH_NS, ManualScheduler


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
