import sys

from replicate import Replicate  # type: ignore[import-not-found]

version, text = sys.argv[1:]
print(Replicate().predictions.create(version=version, input={"text": text}).id)
