"""Print the records of cases as JSON, or keep them: ``python -m tests.golden [--write] [case ...]``."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from tests.golden.cases import CASES, keep, run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep them for this machine's fingerprint")
    parser.add_argument("cases", nargs="*", metavar="case", help="all by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    with tempfile.TemporaryDirectory() as folder:
        outcomes = {case: run(case, Path(folder) / case) for case in arguments.cases or CASES}
    if arguments.write:
        print(*keep(outcomes), sep="\n")
    else:
        print(json.dumps({case: outcome.record() for case, outcome in outcomes.items()}, indent=1))


if __name__ == "__main__":
    main()
