"""Shows the run of a seed: `python -m tests.simulation --seed 17 --verbose`."""

import argparse
import os
import sys
import time

from tests.simulation.machine import Failed, simulate


def main() -> int:
    """0 if every invariant holds."""
    parser = argparse.ArgumentParser(prog="tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=1, help="so many seeds from there on")
    parser.add_argument("--verbose", action="store_true", help="everything that happens")
    parser.add_argument("--first", action="store_true", help="not any further than to the first that fails")
    options = parser.parse_args()
    failed = 0
    for seed in range(options.seed, options.seed + options.count):
        started = time.process_time()
        try:
            outcome = simulate(seed, verbose=options.verbose)
        except Failed as error:
            print(error)  # noqa: T201  # it is a program
            failed += 1
            if options.first:
                break
        else:
            print(f"seed {seed}: {outcome} in {time.process_time() - started:.3f} s")  # noqa: T201  # likewise
    return 1 if failed else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # anyio keeps the tasks of dead processes: Python would run on in them when it ends, and may crash
