import json
import sys
import time

from replicate import Replicate  # type: ignore[import-not-found]

model, text = sys.argv[1:]
try:
    got = Replicate().run(model, input={"text": text})
except Exception as error:  # noqa: BLE001 - what a client raises is a result of the benchmark
    got = f"raised {type(error).__name__}"
print(json.dumps({"at": time.time(), "got": got}))
