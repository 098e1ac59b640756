"""Redis servers for tests that must hold on every one of them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from host_sim.memory_redis import MemoryRedis
from host_sim.redis_server import serve_memory


@contextmanager
def memory_redis_client(data: MemoryRedis | None = None) -> Iterator["redis.Redis"]:
    """A client of a MemoryRedis behind TCP."""
    with serve_memory(data if data is not None else MemoryRedis(), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with redis.Redis(port=server.server_address[1], protocol=2, socket_timeout=10) as client:
                yield client
        finally:
            server.shutdown()
            thread.join()
