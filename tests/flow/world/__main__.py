"""``python -m tests.flow.world --sequences 100000``: as many lives of the world, and the smallest plan that fails."""

from __future__ import annotations

import argparse
import collections
import sys
import time

from .plan import draw
from .trial import kind, shrink, story, verdict


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sequences", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true")
    chosen = parser.parse_args()
    began, kinds = time.monotonic(), collections.Counter[str]()
    firsts: dict[str, tuple[int, str]] = {}
    for seed in range(chosen.seed, chosen.seed + chosen.sequences):
        problems, _ = verdict(draw(seed))
        for problem in problems:
            kinds[kind(problem)] += 1
            firsts.setdefault(kind(problem), (seed, problem))
    seconds = time.monotonic() - began
    print(f"{chosen.sequences} sequences in {seconds:.1f} s: {dict(kinds)}")
    for seed, problem in firsts.values():
        print(f"seed {seed}: {problem}")
        if chosen.show:
            print(story(shrink(draw(seed), problem)))
    sys.exit(bool(kinds))


if __name__ == "__main__":
    main()
