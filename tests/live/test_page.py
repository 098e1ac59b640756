"""The page in a real browser."""

from contextlib import suppress

import aiohttp
import pytest

from tests.live.bench import bench, run
from tests.live.browser import Browser, find_chromium
from tests.live.upstream import Upstream

CHROMIUM = find_chromium()
browser_test = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium on PATH: the page is not tested in a browser (on Debian: apt-get install chromium)",
)


@browser_test
def test_the_page_follows_what_happens():
    async def scenario():
        assert CHROMIUM is not None
        health = {"path": "/health", "interval_ms": 5, "unhealthy_threshold": 1}
        async with Upstream() as first, Upstream() as second:
            clusters = {"llm": {"endpoints": [first.address, second.address], "health_check": health}}
            async with bench(clusters=clusters) as gateway, Browser(CHROMIUM) as page:
                await page.open(gateway.admin)
                await page.until("document.querySelectorAll('#endpoints tbody tr').length === 2")
                assert await page.evaluate("document.getElementById('no-requests').hidden") is False

                first.send(b"one")
                async with gateway.client.get(f"{gateway.base}/choose/stream?={first.address}") as response:
                    await page.until("document.querySelector('#endpoints tbody tr').cells[4].textContent === '1'")
                    await page.until(
                        "document.querySelector('#requests tbody tr').cells[8].textContent === 'in flight'"
                    )
                    first.send(None)
                    await response.read()
                await page.until("document.querySelector('#requests tbody tr').cells[8].textContent.endsWith(' ms')")
                [request] = await page.rows("requests")
                assert request[2:7] == ["GET /choose/stream", "all", first.address, "chosen by the plugin", "200"]
                endpoint = (await page.rows("endpoints"))[0]
                assert endpoint == [first.address, "llm", "healthy", "1", "0", "1", "0"]

                markup = "<img src=/page.css>"
                await gateway.text("/refuse", headers={"x-why": markup})
                await page.until("document.querySelectorAll('#logs tbody tr').length === 1")
                await page.until("document.querySelectorAll('#requests tbody tr').length === 2")
                assert (await page.rows("logs"))[0][1:] == ["WARN", f"refused {markup}"]  # text, not an image
                assert (await page.rows("requests"))[0][5].startswith("answered by the plugin")

                await page.evaluate("document.querySelector('#requests tbody tr').click()")
                await page.until("!document.getElementById('details').hidden")
                details = await page.evaluate("document.getElementById('details-parts').textContent")
                assert "send_local_response(403" in details
                assert "not here" not in details  # the body is private
                assert "on_request_headers" in details

                second.health = 500
                await page.until(
                    "document.querySelectorAll('#endpoints tr')[2].cells[2].textContent.includes('status 500')"
                )
                assert page.problems == []
                assert await page.evaluate("document.getElementById('connection').textContent") == "live"

    run(scenario())


def test_the_admin_port():
    async def scenario():
        async with Upstream() as upstream, bench(upstream.address) as gateway:
            await gateway.text("/echo?key=private")
            async with gateway.client.get(f"{gateway.admin}/requests/1") as response:
                details = await response.json()
            async with gateway.client.get(f"{gateway.admin}/requests/2") as response:
                missing = response.status
            async with gateway.client.get(f"{gateway.admin}/") as response:
                policy, text = response.headers["content-security-policy"], await response.text()
            return details, missing, policy, text

    details, missing, policy, text = run(scenario())
    assert details["path"] == "/echo"
    assert details["callbacks"][0].startswith("on_context_create")
    assert "private" not in str(details)
    assert missing == 404
    assert policy.startswith("default-src 'self'")
    assert "http" not in text.replace("http-equiv", "")  # nothing from elsewhere


def test_a_page_that_stays_open_does_not_keep_the_gateway():
    async def scenario():
        async with aiohttp.ClientSession() as browser, Upstream() as upstream:
            async with bench(upstream.address) as gateway:
                response = await browser.get(f"{gateway.admin}/events")
                assert (await response.content.readline()).startswith(b"data: {")
            with suppress(aiohttp.ClientError):
                await response.read()
            response.close()

    run(scenario())
