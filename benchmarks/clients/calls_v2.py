import asyncio
import sys

from meter import in_tasks, in_threads
from replicate import AsyncReplicate, DefaultAioHttpClient, Replicate  # type: ignore[import-not-found]

model, count, workers, way = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


async def main() -> None:
    async with AsyncReplicate(http_client=DefaultAioHttpClient()) if way == "aiohttp" else AsyncReplicate() as client:

        async def call(number: int) -> bool:
            return bool(await client.run(model, input={"text": f"row {number}"}) == "hello")

        await in_tasks(call, count, workers)


if way == "threads":
    with Replicate() as client:
        in_threads(lambda number: client.run(model, input={"text": f"row {number}"}) == "hello", count, workers)
else:
    asyncio.run(main())
