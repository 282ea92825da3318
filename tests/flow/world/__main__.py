"""``python -m tests.flow.world --sequences 100000`` tries that many plans and prints the smallest one that fails."""

# ruff: noqa: T201 - a command prints what it found
from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from .plan import draw
from .trial import kind, shrink, story, verdict


def main() -> None:
    """Print how many promises were broken, and the smallest failing plan for each kind of failure."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--sequences", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--stories", type=int, default=3, help="how many broken ones are made smaller and told")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    chosen = parser.parse_args()
    began = time.monotonic()
    seeds = range(chosen.seed, chosen.seed + chosen.sequences)
    with ProcessPoolExecutor(chosen.workers) as workers:
        tried = zip(seeds, workers.map(_try, seeds, chunksize=50), strict=True)
        broken = {seed: problems for seed, problems in tried if problems}
    kinds = Counter(kind(problem) for problems in broken.values() for problem in problems)
    print(f"{chosen.sequences} sequences in {time.monotonic() - began:.1f} s: {dict(kinds) or 'all promises kept'}")
    for seed, problems in list(broken.items())[: chosen.stories]:
        print(f"\nseed {seed}: {problems}\n{story(shrink(draw(seed), problems[0]))}")
    sys.exit(bool(broken))


def _try(seed: int) -> list[str]:
    return verdict(draw(seed))[0]


if __name__ == "__main__":
    main()
