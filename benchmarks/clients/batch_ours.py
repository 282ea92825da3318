import sys

from replicate_job import Job, batch

model, count = sys.argv[1], int(sys.argv[2])
rows = ({"text": f"row {row}"} for row in range(count))
print(sum(result.status == "succeeded" for result in batch(Job(model), rows, key="bench", rate="none")))
