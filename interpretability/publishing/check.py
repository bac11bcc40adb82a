"""Reading a published folder again, in a process that knows nothing of the run: does it explain its example the same?

``python -m interpretability.publishing.check FOLDER`` is that process; it prints one line of JSON.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import interpretability
from interpretability.classifiers import load_classifier
from interpretability.data.audio import read_recording
from interpretability.data.inputs import read_sounds
from interpretability.errors import UserError, shown
from interpretability.explaining import explain
from interpretability.exported import CONFIG
from interpretability.methods import is_interpreter_folder, load_interpreter
from interpretability.publishing.stock import FOREIGN, STOCK
from interpretability.reading import as_object, parse_json, read_object

#: Below which an explanation is another one, in dB; of SpeechBrain's class where both have frames.
LEAST_SNR = 60.0
#: Where the sound of SpeechBrain's class, which ends early, has fewer windows over each other, in s.
STOCK_END = 0.1


def check_folder(folder: str | Path, trust_remote_code: bool = False) -> dict[str, float]:
    """Load a published folder in a fresh process, with the network cut off, and compare what it says of its example.

    Parameters
    ----------
    folder : path
    trust_remote_code : bool
        As in :func:`~interpretability.methods.load_interpreter`.

    Returns
    -------
    dict
        "here" and "speechbrain" -> signal-to-noise ratio in dB between the explanation as sound in the folder and that
        of the fresh process: loaded by this package, and by the class of SpeechBrain's that the folder names.

    Raises
    ------
    UserError
        If it cannot be loaded, or explains the example in another way.
    """
    folder = Path(folder).resolve()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    root = str(Path(interpretability.__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "interpretability.publishing.check", str(folder)]
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            [*command, *(["trust"] if trust_remote_code else [])],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        reason = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise UserError(f"{folder}: cannot be loaded again in a fresh process ({reason}): nothing was sent")
    ratios = as_object(parse_json(lines[-1], "the fresh process"), "the fresh process")
    for name, snr in ratios.items():
        if not isinstance(snr, (int, float)) or snr < LEAST_SNR:
            raise UserError(
                f"{folder}: loaded again in a fresh process ({name}) it explains its example in another way "
                f"({shown(snr)} dB, expected at least {LEAST_SNR:g}): nothing was sent; publish the run again"
            )
    return ratios


def explain_example(folder: Path, trust_remote_code: bool = False) -> dict[str, float]:
    """Return what :func:`check_folder` does, computed in this process."""
    load = load_interpreter if is_interpreter_folder(folder) else load_classifier
    model = load(folder, trust_remote_code=trust_remote_code)
    example = folder / "example"
    rate = model.frontend.settings.sample_rate
    # Written at the level of the front end: read without another one, and without resampling.
    wav = read_recording(example / "input.wav", rate).wav
    wanted = read_recording(example / "explanation.wav", rate).wav
    explanation = explain(model, read_sounds(wav, model.frontend.settings))
    mask = np.load(example / "mask.npz", allow_pickle=False)["mask"]
    same_mask = _snr(torch.from_numpy(mask), explanation.mask[0].detach().float())
    result = {"here": min(_snr(wanted, explanation.listenable[0].detach()), same_mask)}
    interface = read_object(folder / CONFIG)["speechbrain_interface"]
    if interface == STOCK:
        from speechbrain.inference.interpretability import PIQAudioInterpreter

        sound, _ = PIQAudioInterpreter.from_hparams(source=str(folder)).interpret_batch(wav[None])
        count = min(sound.shape[1], len(wanted)) - round(STOCK_END * rate)
        result["speechbrain"] = _snr(wanted[:count], sound[0, :count].detach())
    elif interface == FOREIGN:
        from speechbrain.inference.interfaces import foreign_class

        sound, _ = foreign_class(source=str(folder)).interpret_batch(wav[None])
        result["speechbrain"] = _snr(wanted, sound[0].detach())
    return result


def _snr(wanted: Tensor, got: Tensor) -> float:
    """Return a signal-to-noise ratio in dB, 200 at most: that of equal ones."""
    if wanted.shape != got.shape or not bool(got.isfinite().all()):
        return -200.0
    noise, signal = float((wanted - got).double().square().sum()), float(wanted.double().square().sum())
    if noise == 0:
        return 200.0
    return min(10 * math.log10(signal / noise), 200.0) if signal > 0 else -200.0


def main(arguments: list[str]) -> int:
    """Print what :func:`explain_example` finds, or one line that says why not."""
    try:
        ratios = explain_example(Path(arguments[0]), "trust" in arguments[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(ratios))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
