import asyncio
import sys

from meter import in_tasks, in_threads

from replicate_job import AsyncClient, Client

model, count, workers, way = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


async def main() -> None:
    async with AsyncClient(rate="none") as client:

        async def call(number: int) -> bool:
            result = await client.run(model, {"text": f"row {number}"})
            return bool(result.output == "hello")

        await in_tasks(call, count, workers)


if way == "tasks":
    asyncio.run(main())
else:
    with Client(rate="none") as client:
        in_threads(lambda number: client.run(model, {"text": f"row {number}"}).output == "hello", count, workers)
