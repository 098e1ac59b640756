"""A headless Chromium, driven through its DevTools protocol over one WebSocket."""

import asyncio
import base64
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MESSAGE_SIZE_MAX = 64 << 20  # a screenshot is one message


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page. `problems` are what its console says: errors of scripts, refused loads."""

    def __init__(self, binary: str, width: int = 1280, height: int = 1000) -> None:
        self.problems: list[str] = []
        self._binary = binary
        self._size = f"--window-size={width},{height}"
        self._folder = tempfile.TemporaryDirectory(prefix="chromium_", ignore_cleanup_errors=True)
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> "Browser":
        flags = ["--headless", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0", self._size]
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []  # as root it does not start with one
        self._process = await asyncio.create_subprocess_exec(
            self._binary,
            *flags,
            f"--user-data-dir={self._folder.name}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        port = await self._port()
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as response:
            [page] = [target for target in await response.json() if target["type"] == "page"]
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=MESSAGE_SIZE_MAX)
        self._reader = asyncio.create_task(self._read())
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._session.close()
        if self._process.returncode is None:
            self._process.terminate()
        self._drain.cancel()
        await asyncio.gather(self._drain, return_exceptions=True)
        await self._process.wait()
        self._folder.cleanup()

    async def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        return await answer

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def evaluate(self, expression: str) -> Any:
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Until the expression is true in the page; it is looked at with every frame that the page draws."""
        await self.evaluate(
            f"new Promise(done => {{ const look = () => ({expression}) ? done(true) : setTimeout(look, 10); look(); }})"
        )

    async def rows(self, table: str) -> list[list[str]]:
        """The texts of a table's body."""
        found = await self.evaluate(
            f"[...document.querySelectorAll('#{table} tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
        )
        assert isinstance(found, list)
        return found

    async def screenshot(self, file: Path) -> None:
        answer = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        file.write_bytes(base64.b64decode(answer["data"]))

    async def _port(self) -> int:
        """Chromium says where its DevTools listen; what it says later is dropped."""
        errors = self._process.stderr
        assert errors is not None
        said = b""
        while line := await errors.readline():
            said += line
            if b"DevTools listening on ws://" in line:
                self._drain = asyncio.create_task(_drain(errors))
                return int(line.split(b"ws://")[1].split(b"/")[0].rpartition(b":")[2])
        raise RuntimeError(f"{self._binary} did not start: {said.decode(errors='replace')}")

    async def _read(self) -> None:
        async for message in self._socket:
            event = message.json()
            if "id" in event:
                answer = self._answers.pop(event["id"])
                if "error" in event:
                    answer.set_exception(RuntimeError(str(event["error"])))
                else:
                    answer.set_result(event["result"])
            elif event["method"] == "Runtime.exceptionThrown":
                self.problems.append(str(event["params"]["exceptionDetails"]))
            elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                self.problems.append(str(event["params"]["entry"]))


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass
