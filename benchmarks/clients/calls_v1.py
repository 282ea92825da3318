import asyncio
import sys

import replicate  # type: ignore[import-not-found]
from meter import in_tasks, in_threads

model, count, workers, way = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
client = replicate.Client()


async def call(number: int) -> bool:
    return bool(await client.async_run(model, {"text": f"row {number}"}) == "hello")


if way == "tasks":
    asyncio.run(in_tasks(call, count, workers))
else:
    in_threads(lambda number: client.run(model, {"text": f"row {number}"}) == "hello", count, workers)
