# pool.py
"""Pictures from a pool of processes, each with a client of its own."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from replicate_job import Client

client: Client  # of this process


def open_client() -> None:
    global client
    client = Client(save_to="outputs")


def paint(prompt: str) -> str:
    result = client.run("black-forest-labs/flux-schnell", {"prompt": prompt}, key=f"picture of {prompt}")
    return f"{prompt}: {result.status}"


if __name__ == "__main__":
    prompts = ["a fox", "a hare", "a lynx", "an owl"]
    with ProcessPoolExecutor(2, get_context("spawn"), initializer=open_client) as pool:
        for line in pool.map(paint, prompts):
            print(line)
