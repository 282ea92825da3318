"""The HTTP library alone, with a number of workers and without a journal."""

import asyncio
import os
import sys

import msgspec
import uvloop
from pyreqwest.client import ClientBuilder


class Prediction(msgspec.Struct):
    id: str
    status: str
    output: str


async def main(version: str, count: int, workers: int) -> int:
    url = f"{os.environ['REPLICATE_BASE_URL']}/v1/predictions"
    headers = {
        "authorization": f"Bearer {os.environ['REPLICATE_API_TOKEN']}",
        "content-type": "application/json",
        "prefer": "wait",
    }
    rows, done = iter(range(count)), 0
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Prediction).decode
    async with ClientBuilder().default_headers(headers).no_proxy().build() as client:

        async def work() -> None:
            nonlocal done
            for row in rows:
                body = encode({"version": version, "input": {"text": f"row {row}"}})
                response = await client.post(url).body_bytes(body).build().send()
                done += decode(await response.bytes()).status == "succeeded"

        await asyncio.gather(*(work() for _ in range(workers)))
    return done


print(uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
