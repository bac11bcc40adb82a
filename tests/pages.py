"""Pages of the documentation whose commands are run: their code blocks, and their commands in this process."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny


def blocks(page: Path, language: str = "") -> list[str]:
    """Return the code blocks of a page in a language, by default those of commands."""
    of_every_kind = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [block for kind, block in of_every_kind if kind == language]


def commands(page: Path) -> list[str]:
    """Return the commands of a page, in their order."""
    return "".join(blocks(page)).splitlines()


def run(line: str, settings: Mapping[str, Any]) -> tiny.Outcome:
    """Run a command, ``python SCRIPT …``, with further options, None being one without a value."""
    words = shlex.split(line)[1:]
    for name, value in settings.items():
        words += [f"--{name}"] if value is None else [f"--{name}", str(value)]

    def script() -> int:
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(words[0], run_name="__main__")
        return ended.value.code or 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        return tiny.call(script)
