"""The HTTP library alone, without a journal."""

import asyncio
import os
import sys

import msgspec
from meter import in_tasks
from pyreqwest.client import ClientBuilder


class Prediction(msgspec.Struct):
    status: str
    output: str


async def main(model: str, count: int, workers: int) -> None:
    url = f"{os.environ['REPLICATE_BASE_URL']}/v1/models/{model}/predictions"
    headers = {
        "authorization": f"Bearer {os.environ['REPLICATE_API_TOKEN']}",
        "content-type": "application/json",
        "prefer": "wait",
    }
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Prediction).decode
    async with ClientBuilder().default_headers(headers).no_proxy().build() as client:

        async def call(number: int) -> bool:
            body = encode({"input": {"text": f"row {number}"}})
            response = await client.post(url).body_bytes(body).build().send()
            return decode(await response.bytes()).output == "hello"

        await in_tasks(call, count, workers)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
