# send.py
"""Have four pictures made by the workers."""

from tasks import picture

if __name__ == "__main__":
    sent = [picture.delay(f"a {animal}") for animal in ("fox", "hare", "lynx", "owl")]
    for task in sent:
        result = task.get(timeout=60, interval=0.1)
        print(result["status"], *result["files"])
