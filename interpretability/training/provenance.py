"""What every result row carries, so that a number can be traced to the run that made it."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str:
    """Return the repository's commit, with ``+changes`` if files differ from it; ``unknown`` outside a repository."""
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        answer = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
        return answer.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return "unknown"  # installed somewhere inside another repository
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
