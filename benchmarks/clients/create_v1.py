import sys

import replicate  # type: ignore[import-not-found]

version, text = sys.argv[1:]
print(replicate.predictions.create(version=version, input={"text": text}).id)
