# app.py
"""Pictures over HTTP: ``uvicorn app:app``.

The environment names the token, this server's own address (PUBLIC_URL) and the secret of webhooks (WEBHOOK_SECRET).
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, UploadFile
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from replicate_job import AsyncClient, ReplicateJobError, Result, verify_webhook
from replicate_job.errors import JobTimeoutError, UnknownJobError, WebhookVerificationError

log = logging.getLogger("uvicorn.error")


class Order(BaseModel):
    key: str
    prompt: str
    timeout: float = Field(60, gt=0, le=300)  # seconds


class Picture(BaseModel):
    key: str
    status: str
    files: list[str]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, AsyncClient]]:
    async with AsyncClient(save_to="outputs", rate=os.environ.get("CREATE_RATE", "600/min")) as client:
        resuming = asyncio.create_task(resume(client))
        yield {"client": client}
        resuming.cancel()


async def resume(client: AsyncClient) -> None:
    """Finish what a server that was killed has left."""
    async for result in client.resume():
        log.info("resumed %s: %s %s", result.key, result.status, result.problem)


async def opened(request: Request) -> AsyncClient:
    client: AsyncClient = request.state.client
    return client


app = FastAPI(lifespan=lifespan)
OpenClient = Annotated[AsyncClient, Depends(opened)]


@app.exception_handler(ReplicateJobError)
async def explain(_: Request, error: Exception) -> JSONResponse:
    status = {UnknownJobError: 404, JobTimeoutError: 504}.get(type(error), 502)
    return JSONResponse({"detail": str(error)}, status)


@app.post("/pictures")
async def paint(order: Order, client: OpenClient) -> Picture:
    """Answer once the picture is there. A request that is sent again pays for nothing: it has the same key."""
    model, prompt = "black-forest-labs/flux-schnell", {"prompt": order.prompt}
    result = await client.run(model, prompt, key=order.key, timeout=order.timeout)
    return shown(result.raise_for_status())


@app.post("/variations")
async def vary(image: UploadFile, client: OpenClient) -> Picture:
    """Hand an upload on to the model."""
    result = await client.run("stability-ai/sdxl", {"image": image})
    return shown(result.raise_for_status())


@app.post("/orders", status_code=202)
async def take(order: Order, client: OpenClient) -> dict[str, str]:
    """Answer once the prediction exists. A webhook reports its end."""
    job = await client.submit(
        "black-forest-labs/flux-schnell",
        {"prompt": order.prompt},
        key=order.key,
        webhook=f"{os.environ['PUBLIC_URL']}/webhooks",
        webhook_events_filter=("completed",),
    )
    return {"key": job.key, "prediction_id": job.prediction_id}


@app.get("/orders/{key}")
async def look(key: str, client: OpenClient) -> Picture:
    return shown(await client.get(key))


@app.post("/webhooks", status_code=204)
async def receive(request: Request, client: OpenClient, after: BackgroundTasks) -> None:
    """Keep the outputs of a prediction that has ended: Replicate deletes them after an hour."""
    try:
        verify_webhook(request.headers, await request.body(), os.environ["WEBHOOK_SECRET"])
    except WebhookVerificationError as error:
        raise HTTPException(401, str(error)) from None
    after.add_task(client.wait, (await request.json())["id"])


def shown(result: Result) -> Picture:
    return Picture(key=result.key, status=result.status, files=[str(path) for path in result.files])
