# tables.py
"""A table of prompts in, a table with pictures out."""

import pandas as pd

from replicate_job import Client

prompts = pd.DataFrame(
    {"name": ["fox", "hare", "owl"], "prompt": ["a fox", "a hare", "an owl"], "seed": [1, None, 3]},
).set_index("name")

with Client(save_to="outputs") as client:
    results = list(client.batch("black-forest-labs/flux-schnell", prompts, key="animals"))

pictures = pd.DataFrame(
    [
        {
            "status": result.status,
            "file": next(iter(result.files), None),
            "seconds": result.metrics.get("predict_time"),
            "problem": result.problem,
        }
        for result in results
    ],
    index=[prompts.index[result.line - 1] for result in results],  # rows end in any order
)
table = prompts.join(pictures)
table.to_csv("pictures.csv")
print(table["status"].to_dict())
