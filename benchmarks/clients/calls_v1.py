import sys

import replicate  # type: ignore[import-not-found]
from meter import in_threads

model, count, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = replicate.Client()
in_threads(lambda number: client.run(model, {"text": f"row {number}"}) == "hello", count, workers)
