import json
import sys
import time

from replicate_job import run

model, text, attempts = sys.argv[1:]
result = run(model, {"text": text}, max_poll_attempts=int(attempts))
print(json.dumps({"at": time.time(), "got": result.output if result.status == "succeeded" else result.status}))
