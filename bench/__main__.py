"""`python -m bench` runs every yardstick, `python -m bench decode_match …` those named.

Each runs in a process of its own, so that none inherits another's heap, threads or connections.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.common import Goal

SCRIPTS = (
    "decode_match",
    "replay",
    "margin_pairing",
    "fills_persisted",
    "audit_verify",
    "tick_to_commit",
    "order_post",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="What each measures: bench/README.md"
    )
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help=", ".join(SCRIPTS) + " (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes and few rounds: does everything still work?"
    )
    parser.add_argument(
        "--yardstick", action="store_true", help="order_post: also FastAPI + asyncpg, downloaded for the run"
    )
    given = parser.parse_args()
    unknown = set(given.scripts) - set(SCRIPTS)
    if unknown:
        parser.error(f"no such script: {', '.join(sorted(unknown))}")
    switches = [f"--{name}" for name in ("quick", "yardstick") if getattr(given, name)]
    lines, failed = [], []
    with tempfile.TemporaryDirectory(prefix="raxx-bench-") as folder:
        for name in given.scripts or SCRIPTS:
            goals = Path(folder) / f"{name}.json"
            command = [sys.executable, "-m", f"bench.{name}", *switches, "--goals", str(goals)]
            if subprocess.run(command, cwd=Path(__file__).resolve().parent.parent).returncode:
                failed.append(name)
            else:
                lines += [f"{name:16} {Goal(**goal)}" for goal in json.loads(goals.read_text())]
    title = "Goals (sizes too small to judge by)" if given.quick else "Goals"
    print(f"\n# {title}\n  " + "\n  ".join(lines))
    if failed:
        print(f"  failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
