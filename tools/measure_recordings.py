"""Measure how long recordings take, and how much memory, by their length.

    python tools/measure_recordings.py MODEL --out FOLDER [--minutes 1 10 60] [--label siren] [--threshold P]

MODEL is anything that ``tools/interpret.py`` explains and that has the class LABEL of Synthetic. For each length a
recording is made in which the class is heard once a minute, and explained in a process of its own. The table says how
many times faster than real time windows were classified, what explaining the active ones took in relation to that, and
the most memory that the process had.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from interpretability.command_line import guarded
from interpretability.data.watch import make_watch
from interpretability.errors import UserError
from interpretability.files import claim, json_text, write_text
from interpretability.reading import read_object
from interpretability.report.tables import markdown_table

INTERPRET = Path(__file__).with_name("interpret.py")
HEAD = ["length (min)", "windows", "explained", "classified (x real time)", "explaining / classifying",
        "CPU time (s)", "peak memory (MB)"]  # fmt: skip


def measure(options: argparse.Namespace, minutes: float) -> dict[str, float]:
    """Make and explain one recording; return what it took."""
    sound, folder = options.out / f"{minutes:g}.wav", options.out / f"{minutes:g}"
    times = [60 * minute + 30 for minute in range(max(1, int(minutes))) if 60 * minute + 30 < 60 * minutes]
    make_watch(sound, 60 * minutes, options.label, times)
    # With a threshold, the shortest is heard in windows, too.
    command = [options.model, sound, "--out", folder, "--target", options.label, "--threshold", options.threshold]
    child = subprocess.Popen([sys.executable, INTERPRET, *map(str, command)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise UserError(f"{sound}: could not be explained, the line above says why")
    description = read_object(folder / "explanation.json")
    took = description["took"]
    return {
        "minutes": minutes,
        "windows": description["windows"],
        "active_windows": description["active_windows"],
        "times_real_time": description["seconds"] / took["classifying"],
        "ratio": took.get("explaining", 0.0) / took["classifying"],
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_megabytes": usage.ru_maxrss / 1024,
    }


def run_all(options: argparse.Namespace) -> None:
    """Measure every length; write the results and print them."""
    options.out.mkdir(parents=True, exist_ok=True)
    names = [f"{minutes:g}{suffix}" for minutes in options.minutes for suffix in (".wav", "", ".unfinished")]
    claim(options.out, [*names, "measured.json", "table.md"])
    measured = [measure(options, minutes) for minutes in options.minutes]
    decimals = (0, 0, 0, 0, 2, 0, 0)
    rows = [[f"{value:.{d}f}" for value, d in zip(each.values(), decimals, strict=True)] for each in measured]
    table = markdown_table(HEAD, rows)
    write_text(options.out / "measured.json", json_text({"cores": len(os.sched_getaffinity(0)), "measured": measured}))
    write_text(options.out / "table.md", f"{table}\n")
    print(table)


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--out", type=Path, required=True, help="folder for recordings and results")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10, 60], help="lengths (default: 1 10 60)")
    parser.add_argument("--label", default="siren", help="class of Synthetic (default: siren)")
    parser.add_argument("--threshold", type=float, default=0.5, help="of tools/interpret.py (default: 0.5)")
    options = parser.parse_args(arguments)
    return guarded(lambda: run_all(options))


if __name__ == "__main__":
    sys.exit(main())
