import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import replicate  # type: ignore[import-not-found]

version, count, workers, way = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


def arguments(row: int) -> dict[str, object]:
    return {"version": version, "input": {"text": f"row {row}"}, "wait": True}


async def in_tasks() -> int:
    client, slot = replicate.Client(), asyncio.Semaphore(workers)

    async def create(row: int) -> bool:
        async with slot:
            prediction = await client.predictions.async_create(**arguments(row))
        return bool(prediction.status == "succeeded")

    return sum(await asyncio.gather(*map(create, range(count))))


def in_threads() -> int:
    client = replicate.Client()

    def create(row: int) -> bool:
        return bool(client.predictions.create(**arguments(row)).status == "succeeded")

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(create, range(count)))


print(asyncio.run(in_tasks()) if way == "tasks" else in_threads())
