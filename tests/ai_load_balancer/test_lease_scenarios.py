"""What happens to requests and to counts, for every policy with leases, on both guests, with a real Redis over TCP."""

import asyncio
from math import ceil

import pytest
from ai_load_balancer.policies.handicaps import OWNER_FAILURES
from ai_load_balancer.scripts import ACQUIRE, prefix_key_prefix

from host_sim import EmbeddedRedis

from .lease_bench import (
    CLUSTER,
    ENDPOINTS,
    KEYS,
    POLICIES,
    LeaseBench,
    live_counts,
    stored_counts,
    until,
)

LOAD_FACTOR = 1.25


@pytest.fixture(params=POLICIES)
def policy(request):
    return request.param


def play(scenario):
    asyncio.run(scenario())


def test_requests_are_spread_and_counted_while_they_live(higress_guest, policy, redis_server, database):
    async def scenario():
        bench = LeaseBench(higress_guest, policy)
        async with bench.running(redis_server.url):
            tasks = await bench.start(30)
            counts = live_counts(database)
            assert counts == stored_counts(database) == bench.spread()
            if policy == "endpoint_hash":
                assert max(counts.values()) <= ceil(LOAD_FACTOR * 30 / 3)
            else:
                assert counts == dict.fromkeys(ENDPOINTS, 10)
            assert bench.metrics()[f"ailb_in_flight.policy.{policy}"] == 30
            bench.gate.set()
            for exchange in await asyncio.gather(*tasks):
                assert (exchange.status, exchange.overridden) == (200, True)
        assert bench.decisions("redis") == 30
        assert live_counts(database) == stored_counts(database) == {}

    play(scenario)


def test_clients_that_go_away_at_any_stage_leave_nothing(higress_guest, policy, redis_server, database):
    async def scenario():
        bench = LeaseBench(higress_guest, policy, redis_budget_ms=60_000)
        async with bench.running(redis_server.url):
            await asyncio.gather(*(bench.ask(abort="paused") for _ in range(8)))  # as soon as they are held
            await bench.sim.settle()
            database.client_pause(60_000, all=False)
            waiting = [asyncio.get_running_loop().create_task(bench.ask()) for _ in range(8)]
            await until(lambda: bench.sim.deployment.pending_calls == 8)
            for task in waiting:
                task.cancel()  # before the reply of Redis
            await asyncio.gather(*waiting, return_exceptions=True)
            database.client_unpause()
            await bench.sim.settle()
            assert live_counts(database) == {}
            at_their_endpoints = await bench.start(8)
            for task in at_their_endpoints[:4]:
                task.cancel()  # before the response
            await asyncio.gather(*at_their_endpoints[:4], return_exceptions=True)
            await bench.sim.settle()
            assert sum(live_counts(database).values()) == 4
            bench.gate.set()
            await asyncio.gather(*(bench.ask(abort="response") for _ in range(8)))
        assert bench.decisions("redis", "client_gone") >= 8
        assert live_counts(database) == stored_counts(database) == {}

    play(scenario)


def test_redis_is_killed_and_comes_back_without_its_data(higress_guest, policy):
    async def scenario():
        bench = LeaseBench(higress_guest, policy, lease_ttl_s=3)
        with EmbeddedRedis() as server:
            async with bench.running(server.url):
                await bench.start(3)
                server.stop()
                await bench.start(3)
                assert bench.decisions("redis") == bench.decisions("local") == 3
                assert bench.fallbacks("unreachable") == 3
                if policy != "endpoint_hash":
                    assert bench.spread() == dict.fromkeys(ENDPOINTS, 2)
                with EmbeddedRedis() as restarted, restarted.client() as database:
                    bench.set_redis_port(restarted.port)
                    await until(lambda: live_counts(database) == bench.spread())  # the next renewal tells all six
                    while bench.decisions("redis") == 3:  # maybe the breaker is open
                        await bench.start()
                    assert live_counts(database) == bench.spread()
                    bench.gate.set()
                    await until(lambda: live_counts(database) == {})
                    await bench.sim.settle()
                    assert stored_counts(database) == {}

    play(scenario)


def test_a_slow_redis_costs_a_request_its_budget_and_no_more(higress_guest, policy, redis_server, database):
    async def scenario():
        bench = LeaseBench(higress_guest, policy, redis_budget_ms=500)
        async with bench.running(redis_server.url):
            database.client_pause(60_000, all=False)
            try:
                tasks = await bench.start(3)
            finally:
                database.client_unpause()
            assert bench.fallbacks("slow") == bench.decisions("local") == 3
            await bench.sim.settle()  # the late leases were given back
            assert live_counts(database) == stored_counts(database) == {}
            await bench.start()
            assert bench.decisions("redis") == 1
            bench.gate.set()
            for task in tasks:
                assert (await task).overridden
        assert live_counts(database) == stored_counts(database) == {}

    play(scenario)


def test_while_redis_answers_errors_the_gateway_decides(higress_guest, policy, redis_server, database):
    async def scenario():
        bench = LeaseBench(higress_guest, policy)
        async with bench.running(redis_server.url):
            database.set(KEYS[0], "not a hash")
            tasks = await bench.start(3)
            assert bench.fallbacks("error") == bench.decisions("local") == 3
            if policy != "endpoint_hash":
                assert bench.spread() == dict.fromkeys(ENDPOINTS, 1)
            await bench.sim.settle()
            database.delete(KEYS[0])
            await bench.start()
            assert bench.decisions("redis") == 1
            assert sum(live_counts(database).values()) == 1
            bench.gate.set()
            for task in tasks:
                assert (await task).overridden
        assert live_counts(database) == stored_counts(database) == {}

    play(scenario)


def test_a_lease_is_renewed_for_longer_than_it_lives(higress_guest, policy, redis_server, database):
    async def scenario():
        bench = LeaseBench(higress_guest, policy, lease_ttl_s=3)
        async with bench.running(redis_server.url):
            await bench.start()
            counts = bench.spread()
            end_s = database.time()[0] + 5

            def has_outlived_its_time():
                assert live_counts(database) == counts
                return database.time()[0] >= end_s

            await until(has_outlived_its_time)
        assert live_counts(database) == stored_counts(database) == {}

    play(scenario)


def test_a_new_endpoint_does_not_take_everything(higress_guest, policy, redis_server, database):
    async def scenario():
        bench = LeaseBench(higress_guest, policy, ENDPOINTS[:2], slow_start_s=3600)
        async with bench.running(redis_server.url):
            await bench.start(10)
            bench.set_endpoints(ENDPOINTS)
            await bench.start(20)
            assert 0 < bench.spread()[ENDPOINTS[2]] <= 2  # a tenth of the others' load
            assert live_counts(database) == bench.spread()

    play(scenario)


@pytest.mark.parametrize("status", [503, 429])
def test_an_endpoint_that_fails_at_once_gets_no_more_than_its_share(
    higress_guest, policy, redis_server, database, status
):
    async def scenario():
        bench = LeaseBench(higress_guest, policy)
        async with bench.running(redis_server.url):
            bench.statuses[ENDPOINTS[0]] = status
            await bench.start(30)
            share = ceil(LOAD_FACTOR * 10) if policy == "endpoint_hash" else 10
            assert 0 < bench.spread()[ENDPOINTS[0]] <= share + 1
            await bench.sim.settle()
            assert ENDPOINTS[0] not in live_counts(database)

    play(scenario)


class TestLimit:
    """maxRequestCount of global_least_request."""

    def test_above_it_the_answer_is_429_until_a_request_ends(self, higress_guest, redis_server, database):
        async def scenario():
            bench = LeaseBench(higress_guest, "global_least_request", maxRequestCount=1)
            async with bench.running(redis_server.url):
                tasks = await bench.start(3)
                rejected = await bench.ask()
                assert (rejected.status, rejected.header("retry-after")) == (429, "1")
                assert bench.decisions("redis", "rejected") == 1
                tasks[0].cancel()
                await asyncio.gather(tasks[0], return_exceptions=True)
                await bench.sim.settle()
                await bench.start()
                assert live_counts(database) == dict.fromkeys(ENDPOINTS, 1)

        play(scenario)

    def test_leases_of_a_gateway_that_died_do_not_reject_for_ever(self, higress_guest, redis_server, database):
        async def scenario():
            bench = LeaseBench(higress_guest, "global_least_request", maxRequestCount=1)
            async with bench.running(redis_server.url):
                for i in range(3):
                    options = (1, 60_000, 0, 0, "", f"dead-{i}", 0)
                    database.execute_command(*ACQUIRE.by_source, *KEYS, *options, *ENDPOINTS)
                assert (await bench.ask()).status == 429
                for i in range(3):
                    database.zadd(KEYS[2], {f"dead-{i}": 1})  # as if their time had passed
                await bench.start(3)
                assert bench.spread() == dict.fromkeys(ENDPOINTS, 1)
                assert (await bench.ask()).status == 429

        play(scenario)

    def test_it_holds_without_redis_too(self, higress_guest):
        async def scenario():
            bench = LeaseBench(higress_guest, "global_least_request", maxRequestCount=1)
            async with bench.running(None):
                tasks = await bench.start(3)
                rejected = await bench.ask()
                assert (rejected.status, rejected.header("retry-after")) == (429, "1")
                assert bench.decisions("local", "rejected") == 1
                tasks[0].cancel()
                await asyncio.gather(tasks[0], return_exceptions=True)
                await bench.start()
                assert bench.decisions("local") == 4

        play(scenario)


class TestPrefixes:
    def owners(self, database):
        return {database.get(key) for key in database.keys(prefix_key_prefix(b"route", CLUSTER.encode()) + b"*")}

    def test_a_prompt_whose_owner_is_gone_finds_a_new_one_that_stays(self, higress_guest, redis_server, database):
        async def scenario():
            bench = LeaseBench(higress_guest, "prefix_cache")
            async with bench.running(redis_server.url):
                bench.gate.set()
                first = await bench.ask("a prompt")
                others = [endpoint for endpoint in ENDPOINTS if endpoint != first.endpoint]
                bench.set_endpoints(others)
                second = await bench.ask("a prompt")
                assert second.overridden
                assert second.endpoint in others
                assert self.owners(database) == {second.endpoint.encode()}
                bench.set_endpoints(ENDPOINTS)
                assert {(await bench.ask("a prompt")).endpoint for _ in range(5)} == {second.endpoint}

        play(scenario)

    def test_a_prompt_whose_owner_fails_moves_on(self, higress_guest, redis_server, database):
        async def scenario():
            bench = LeaseBench(higress_guest, "prefix_cache")
            async with bench.running(redis_server.url):
                bench.gate.set()
                owner = (await bench.ask("a prompt")).endpoint
                assert owner is not None
                bench.statuses[owner] = 503
                found = [(await bench.ask("a prompt")).endpoint for _ in range(OWNER_FAILURES + 5)]
                assert found[:OWNER_FAILURES] == [owner] * OWNER_FAILURES
                assert owner not in found[OWNER_FAILURES:]
                assert len(set(found[OWNER_FAILURES:])) == 1

        play(scenario)

    def test_without_redis_a_prompt_returns_too(self, higress_guest):
        async def scenario():
            bench = LeaseBench(higress_guest, "prefix_cache")
            async with bench.running(None):
                bench.gate.set()
                owner = (await bench.ask("one")).endpoint
                assert {(await bench.ask("one")).endpoint for _ in range(5)} == {owner}
                bench.set_endpoints([endpoint for endpoint in ENDPOINTS if endpoint != owner])
                moved = (await bench.ask("one")).endpoint
                assert moved != owner
                bench.set_endpoints(ENDPOINTS)
                assert {(await bench.ask("one")).endpoint for _ in range(5)} == {moved}

        play(scenario)
