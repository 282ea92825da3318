"""``python -m tests.flow.world --sequences 100000``: as many lives of the world, and the smallest plan that fails."""

# ruff: noqa: T201 - a command prints what it found
from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from .plan import draw
from .trial import kind, shrink, story, verdict


def main() -> None:
    """Print how many promises were broken, and the smallest plan for each way that is found to break one."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--sequences", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--stories", type=int, default=3, help="how many broken ones are made smaller and told")
    chosen = parser.parse_args()
    began, broken = time.monotonic(), dict[int, list[str]]()
    for seed in range(chosen.seed, chosen.seed + chosen.sequences):
        if problems := verdict(draw(seed))[0]:
            broken[seed] = problems
    kinds = Counter(kind(problem) for problems in broken.values() for problem in problems)
    print(f"{chosen.sequences} sequences in {time.monotonic() - began:.1f} s: {dict(kinds) or 'all promises kept'}")
    for seed, problems in list(broken.items())[: chosen.stories]:
        print(f"\nseed {seed}: {problems}\n{story(shrink(draw(seed), problems[0]))}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
