"""Prints the words of a streamed chat completion as they come."""

import asyncio
import json
import sys

import aiohttp


async def main(url: str) -> None:
    prompt = {"model": "demo", "stream": True, "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}
    async with aiohttp.ClientSession() as session, session.post(url, json=prompt) as response:
        async for line in response.content:
            if line.startswith(b"data: {"):
                [choice] = json.loads(line[6:])["choices"]
                print(choice["delta"].get("content", ""), end="", flush=True)
    print()


asyncio.run(main(sys.argv[1]))
