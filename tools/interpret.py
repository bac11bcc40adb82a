"""Explain one sound: python tools/interpret.py RUN_FOLDER sound.wav --out DIR [--target CLASS]

RUN_FOLDER is the output folder of a finished training run (or its ``interpreter`` folder). The sound can be of any
rate, mono or not, from 0.1 s to 60 s. DIR gets the explanation and the residual as wav, a figure, and a description
with every metric as JSON; of a method that explains by components (L2I, NMF) also those, drawn and as sounds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from interpretability.command_line import check_device, guarded
from interpretability.data.audio import read_audio
from interpretability.errors import UserError
from interpretability.methods import load_interpreter
from interpretability.metrics.suite import PLACES, MetricSuite, clip_values

SHORTEST, LONGEST = 0.1, 60.0  # seconds


def interpret(arguments: argparse.Namespace) -> None:
    """Explain the sound and say where the result is.

    Raises
    ------
    UserError
        For a run folder or a sound that cannot be used, an unknown class, or a length outside 0.1 to 60 s.
    """
    check_device(arguments.device)
    interpreter = load_interpreter(arguments.run_folder).to(arguments.device)
    rate = interpreter.frontend.settings.sample_rate
    # One sample too many is read, so that a longer sound is noticed without decoding all of it.
    wav = read_audio(arguments.sound, rate, max_seconds=LONGEST + 1)
    seconds = len(wav) / rate
    if not SHORTEST <= seconds <= LONGEST:
        got = f"{seconds:.4g} s" if seconds <= LONGEST else f"more than {LONGEST:g} s"
        raise UserError(
            f"{arguments.sound}: lasts {got}, expected {SHORTEST:g} to {LONGEST:g} s; cut the part that matters"
        )
    explanation = interpreter.explain(wav[None].to(arguments.device), target=arguments.target)
    metrics = {}
    for place in PLACES:
        suite = MetricSuite(interpreter.classifier, place, interpreter.apply_domain)
        values = suite(explanation.spectrogram, explanation.output, explanation.mask, explanation.target)
        metrics[place] = clip_values(values, 0)
    said = explanation.describe()
    paths = explanation.save(arguments.out, extra={"source": str(arguments.sound), "metrics": metrics})
    print(f"predicted: {said['predicted']} (p = {said['predicted_probability']:.3f})")
    if said["explained"] != said["predicted"]:
        print(f"explained: {said['explained']} (p = {said['explained_probability']:.3f})")
    print(f"kept area: {said['kept_area']:.1%}; metrics on what is heard: {json.dumps(metrics['waveform'])}")
    print("written: " + ", ".join(str(path) for path in paths.values()))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_folder", type=Path, help="output folder of a finished training run")
    parser.add_argument("sound", type=Path, help="any file that soundfile reads")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--target", help="class to explain (name or index); the predicted one by default")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args(argv)
    return guarded(lambda: interpret(arguments))


if __name__ == "__main__":
    sys.exit(main())
