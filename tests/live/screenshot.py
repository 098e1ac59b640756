"""Makes the picture of the page in docs/: the artifact, three model servers, a Redis, a mix of requests.

python -m tests.live.screenshot docs/images/serve.png
"""

import asyncio
import json
import sys
from pathlib import Path

from host_sim import EmbeddedRedis
from tests.live.browser import Browser, find_chromium
from tests.live.test_artifact import artifact_bench

FINISHED, IN_FLIGHT = 8, 4


async def take(file: Path) -> None:
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("no Chromium on PATH")
    with EmbeddedRedis() as redis:
        async with artifact_bench(redis.url) as (gateway, servers), Browser(chromium, 1180, 1180) as page:
            await page.open(gateway.admin)
            for server in servers:
                server.token_interval_s = 0.004
            chat = {"stream": True, "max_tokens": 20, "messages": [{"role": "user", "content": "Hello"}]}
            url = f"{gateway.base}/v1/chat/completions"
            answers = await asyncio.gather(*(gateway.client.post(url, json=chat) for _ in range(FINISHED)))
            for answer in answers:
                await answer.read()
            await gateway.text("/nowhere")
            servers[-1].token_interval_s = servers[0].token_interval_s = servers[1].token_interval_s = 0.5
            pending = [asyncio.create_task(gateway.client.post(url, data=json.dumps(chat))) for _ in range(IN_FLIGHT)]
            for answer in await asyncio.gather(*pending):
                await answer.content.readany()
            await page.until(f"document.querySelectorAll('#requests tbody tr').length === {FINISHED + IN_FLIGHT + 1}")
            await page.evaluate(f"document.querySelectorAll('#requests tbody tr')[{IN_FLIGHT + 1}].click()")
            await page.until("document.getElementById('details-parts').textContent.includes('on_done')")
            await page.screenshot(file)
            for answer in await asyncio.gather(*pending):
                answer.close()


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1])))
