"""`ailb serve`: the live gateway as a process, until a signal ends it."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from ..errors import SimulatorError
from ..model_server import ModelServer
from .config import load_config
from .gateway import LiveGateway
from .watch import Stamp, change, stamp

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def serve(path: Path, follow: bool, say: Callable[[str], None]) -> None:
    """Run the configuration in `path`; with `follow`, also what it is changed to. SimulatorError if it cannot start."""
    config = load_config(path)
    seen = stamp(config.files)
    with _stop_event() as stop:
        async with LiveGateway(config, say) as live:
            say(f"gateway on http://{live.address}")
            if live.admin_address is not None:
                say(f"page on http://{live.admin_address}/")
            following = asyncio.create_task(_follow(live, path, seen) if follow else stop.wait())
            await asyncio.wait([following, asyncio.create_task(stop.wait())], return_when="FIRST_COMPLETED")
            say("stopping: waiting for what is in flight; the next signal gives up on it")
            following.cancel()


async def serve_models(ports: Sequence[int], token_interval_s: float, say: Callable[[str], None]) -> None:
    """Run stand-in model servers."""
    with _stop_event() as stop:
        async with AsyncExitStack() as stack:
            for number, port in enumerate(ports):
                server = ModelServer(f"model-{number}", token_interval_s, port=port)
                say((await stack.enter_async_context(server)).address)
            await stop.wait()


@contextmanager
def _stop_event() -> Iterator[asyncio.Event]:
    """Set by the first signal; the second ends the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop_or_quit() -> None:
        if stop.is_set():
            raise SystemExit(1)
        stop.set()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop_or_quit)
    try:
        yield stop
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


async def _follow(live: LiveGateway, path: Path, seen: Stamp) -> None:
    files = live.config.files
    while True:
        seen = await change(files, seen)
        try:
            config = load_config(path)
            files, seen = config.files, stamp(config.files)
            await live.reload(config)
        except SimulatorError as error:
            live.observations.note(f"the new configuration is not used, the one before goes on:\n{error}", ok=False)
