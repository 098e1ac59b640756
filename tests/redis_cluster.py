"""A Redis Cluster of three masters on loopback ports, to see that all keys of a call lie in one slot."""

import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import redis
from redis.cluster import ClusterNode, RedisCluster

from host_sim.embedded_redis import HOST, find_server

NODES = 3
SLOTS = 16384
PORTS = range(10_000, 32_000)  # below the ports of clients; the cluster's bus takes the port 10,000 above
BUS_PORT_OFFSET = 10_000
PORT_ATTEMPTS_MAX = 100
READY_TIMEOUT_S = 30.0
POLL_INTERVAL_S = 0.02


@contextmanager
def redis_cluster() -> Iterator[RedisCluster]:
    """A client of the running cluster. Raises FileNotFoundError without a server binary."""
    found = find_server()
    if found is None:
        raise FileNotFoundError("no redis-server")
    with ExitStack() as stack:
        ports = [_start(stack, found[1]) for _ in range(NODES)]
        nodes = [stack.enter_context(redis.Redis(HOST, port, socket_timeout=5)) for port in ports]
        for i, node in enumerate(nodes):
            _await(f"node {i}", partial(_is_up, node))
            node.execute_command("CLUSTER ADDSLOTS", *range(SLOTS * i // NODES, SLOTS * (i + 1) // NODES))
            if i:
                node.execute_command("CLUSTER MEET", HOST, ports[0])
        for i, node in enumerate(nodes):
            _await(f"node {i} in the cluster", partial(_is_joined, node))
        client = RedisCluster(startup_nodes=[ClusterNode(HOST, port) for port in ports])
        stack.callback(client.close)
        yield client


def _start(stack: ExitStack, binary: Path) -> int:
    """Starts a node and returns its port."""
    port = next(port for port in random.sample(PORTS, PORT_ATTEMPTS_MAX) if _is_free(port))
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="redis_cluster_"))
    options = {"--port": port, "--bind": HOST, "--save": "", "--dir": directory, "--cluster-enabled": "yes"}
    process = subprocess.Popen(
        [str(binary), *(str(word) for option in options.items() for word in option)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return port


def _is_free(port: int) -> bool:
    try:
        for wanted in (port, port + BUS_PORT_OFFSET):
            with socket.socket() as probe:
                probe.bind((HOST, wanted))
    except OSError:
        return False
    return True


def _is_up(node: "redis.Redis") -> bool:
    return bool(node.ping())


def _is_joined(node: "redis.Redis") -> bool:
    about = node.execute_command("CLUSTER INFO")
    text = about if isinstance(about, dict) else {}
    return text.get("cluster_state") == "ok" and text.get("cluster_known_nodes") == str(NODES)


def _await(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            if condition():
                return
        except redis.ConnectionError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} is not there after {READY_TIMEOUT_S} s")
        time.sleep(POLL_INTERVAL_S)
