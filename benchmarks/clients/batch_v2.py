import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from replicate import AsyncReplicate, DefaultAioHttpClient, Replicate  # type: ignore[import-not-found]

version, count, workers, way = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


def arguments(row: int) -> dict[str, object]:
    return {"version": version, "input": {"text": f"row {row}"}, "prefer": "wait"}


async def in_tasks() -> int:
    slot = asyncio.Semaphore(workers)
    async with AsyncReplicate(http_client=DefaultAioHttpClient()) if way == "aiohttp" else AsyncReplicate() as client:

        async def create(row: int) -> bool:
            async with slot:
                prediction = await client.predictions.create(**arguments(row))
            return bool(prediction.status == "succeeded")

        return sum(await asyncio.gather(*map(create, range(count))))


def in_threads() -> int:
    client = Replicate()

    def create(row: int) -> bool:
        return bool(client.predictions.create(**arguments(row)).status == "succeeded")

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(create, range(count)))


print(in_threads() if way == "threads" else asyncio.run(in_tasks()))
