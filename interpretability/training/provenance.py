"""What makes a number traceable: the repository's commit, and the installed packages."""

import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import torch


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


def environment() -> str:
    """Return the versions of Python, CUDA and every package that this interpreter can import, one per line."""
    cuda = torch.version.cuda if torch.cuda.is_available() else "not available"
    return "\n".join([f"Python {sys.version}", platform.platform(), f"CUDA {cuda}", *_packages(), ""])


@cache
def _packages() -> list[str]:
    """Return the packages with their versions; they are looked for once in a process."""
    return sorted({f"{package.name}=={package.version}" for package in distributions()}, key=str.lower)
