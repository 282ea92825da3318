# threads.py
"""A story for each animal, and a picture for each story: two models after one another, in eight threads."""

from concurrent.futures import ThreadPoolExecutor

from replicate_job import Client

ANIMALS = ["fox", "hare", "lynx", "owl"]


def illustrate(client: Client, animal: str) -> str:
    story = client.run("meta/llama-2-70b-chat", {"prompt": f"A story of one line: {animal}"}, key=f"story of {animal}")
    text = story.raise_for_status().text
    picture = client.run("black-forest-labs/flux-schnell", {"prompt": text}, key=f"picture of {animal}")
    return f"{animal}: {text} {picture.raise_for_status().files[0]}"


if __name__ == "__main__":
    with Client(save_to="outputs") as client, ThreadPoolExecutor(8) as pool:
        for line in pool.map(lambda animal: illustrate(client, animal), ANIMALS):
            print(line)
