"""Tiny data, a tiny front end, tiny runs of the recipes and what they print: a whole job takes a second or two."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile
import torch

from interpretability.classifiers.base import Classifier, ClassifierOutput
from interpretability.classifiers.compact import CompactClassifier
from interpretability.frontend import FrontendSettings, MaskedPair
from interpretability.training import runner

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPE = REPOSITORY / "recipes" / "ESC50"
SCRIPTS = {
    "classifier": "train_classifier.py",
    "interpreter": "train_piq.py",
    "dictionary": "train_nmf.py",
    "evaluate": "evaluate.py",
}
YAMLS = {
    "classifier": "classifier_compact.yaml",
    "interpreter": "piq.yaml",
    "dictionary": "nmf.yaml",
    "evaluate": "piq.yaml",
}

LABELS = ["cat", "dog", "rain"]
#: The smallest networks of some kinds: configurations of Transformers, and a model of SpeechBrain's.
VIT = {"image_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
WAV2VEC2 = {
    "model_type": "wav2vec2",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "conv_dim": [4] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
XVECTOR = """
modules:
    compute_features: !new:speechbrain.lobes.features.Fbank
        n_mels: 8
    mean_var_norm: !new:speechbrain.processing.features.InputNormalization
        norm_type: sentence
    embedding_model: !new:speechbrain.lobes.models.Xvector.Xvector
        in_channels: 8
        activation: !name:torch.nn.LeakyReLU
        tdnn_blocks: 2
        tdnn_channels: [6, 8]
        tdnn_kernel_sizes: [1, 1]
        tdnn_dilations: [1, 1]
        lin_neurons: 6
    classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
        input_size: 6
        out_neurons: 3
"""
SMALL = FrontendSettings(sample_rate=8000, n_fft=64, win_length_ms=8.0, hop_length_ms=4.0)  # 33 bins, hop 32

RATE = 8000  # Hz
CLASSES = {"low": 300.0, "middle": 900.0, "high": 2500.0}  # Hz
COMMON = {
    "train_folds": 1,
    "valid_folds": 2,
    "test_folds": 3,
    "number_of_epochs": 1,
    "batch_size": 2,  # 3 steps per epoch
    "device": "cpu",
    "noprogressbar": None,
}
#: Stem of a YAML -> what makes its runs tiny; others take those of :data:`YAMLS`.
SETTINGS = {
    "classifier_compact": {**COMMON, "frontend.sample_rate": RATE, "classifier.channels": [4, 4, 8, 8]},
    "piq": {
        **COMMON,
        "n_examples": 0,
        "report_clips": 0,
        "method.codebook_size": 12,
        "method.channels": 8,
        "method.decoder_channels": [8, 4],
    },
    "lmac": {**COMMON, "n_examples": 0, "report_clips": 0, "method.channels": 8, "method.decoder_channels": [4]},
}
SETTINGS["classifier_huggingface"] = SETTINGS["classifier_speechbrain"] = COMMON
SETTINGS["lmac_finetune"] = SETTINGS["lmac"]
#: Of a dictionary: what makes its learning tiny.
DICTIONARY = {"dictionary.n_components": 6, "dictionary.max_frames": 60, "dictionary.n_iterations": 4}
SETTINGS["l2i"] = {**COMMON, **DICTIONARY, "n_examples": 0, "report_clips": 0, "method.channels": 4}
SETTINGS["nmf"] = {**COMMON, **DICTIONARY, "n_examples": 1, "report_clips": 2, "method.n_iterations": 4}

# Runs a job as its script does, and does something to its own process at a chosen moment.
WRAPPER = """
import os, resource, signal, sys
import torch
from interpretability.training import brain, runner

moment, epoch, step, number, job, *argv = sys.argv[1:]
epoch, step, number = int(epoch), int(step), int(number)
# Whoever runs the tests in the background has Ctrl-C ignored, and processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
fit_batch, save, saves = brain.ResumableBrain.fit_batch, torch.save, [0]

def fit_and_kill(self, batch):
    result = fit_batch(self, batch)
    if (self.epoch, self.step) == (epoch, step):
        os.kill(os.getpid(), number)
    return result

def save_half_and_kill(content, path, *args, **kwargs):
    save(content, path, *args, **kwargs)
    saves[0] += 1
    if saves[0] == step:
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), number)

if moment == "fit":
    brain.ResumableBrain.fit_batch = fit_and_kill
elif moment == "save":
    torch.save = save_half_and_kill
elif moment == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
sys.exit(runner.main(job, None, argv))
"""


#: A user's own model, as a module that can be imported: waveforms [B, N] to logits.
NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, classes=3):
        super().__init__()
        self.conv = nn.Conv1d(1, width, 50, 25)
        self.head = nn.Linear(width, classes)

    def forward(self, wavs):
        return self.head(self.conv(wavs[:, None]).relu().mean(2))

def make():
    return Net()
"""


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return Gaussian noise of RMS 1."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return values in [0, 1)."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def magnitudes(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return magnitudes in [0, 4)."""
    return uniform(*shape, seed=seed) * 4


@dataclass
class Outcome:
    """Exit status, stdout and stderr of a job."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line that a failed job prints; checks that there is just one, at the end, and no traceback."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("error: ", "interrupted:"))]
        assert self.code != 0, self.out + self.err
        assert "Traceback" not in self.err, self.err
        assert "Traceback" not in self.out, self.out
        assert len(errors) == 1, self.err
        assert lines[-1] == errors[0], self.err
        return errors[0]


def make_data(folder: Path, classes: dict[str, float] = CLASSES, n_clips: int = 6) -> Path:
    """Write noisy tones in the layout of ESC-50: 3 folds, 0.4 to 0.6 s, 8 kHz."""
    rng = np.random.default_rng(0)
    (folder / "meta").mkdir(parents=True)
    (folder / "audio").mkdir()
    rows = []
    for target, (label, frequency) in enumerate(classes.items()):
        for index in range(n_clips):
            seconds = np.arange(int(RATE * (0.4 + 0.04 * index))) / RATE
            wav = 0.5 * np.sin(2 * np.pi * frequency * seconds) + 0.05 * rng.standard_normal(len(seconds))
            soundfile.write(folder / "audio" / f"{label}-{index}.wav", wav, RATE)
            rows.append((f"{label}-{index}.wav", index % 3 + 1, target, label, "True"))
    with open(folder / "meta" / "esc50.csv", "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["filename", "fold", "target", "category", "esc10"])
        writer.writerows(rows)
    return folder


def save_transformers_model(folder: Path, labels: list[str], rate: int = 16000, kind: str = "wav2vec2") -> Path:
    """Write a tiny audio classifier of transformers, with its feature extractor, in the layout of published ones."""
    import transformers  # slow to import

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        kind,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
        conv_dim=[4] * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
        id2label=dict(enumerate(labels)),
        label2id={name: index for index, name in enumerate(labels)},
    )
    transformers.AutoModelForAudioClassification.from_config(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=rate).save_pretrained(folder)
    return folder


def listening_classifier(labels: list[str], **settings) -> CompactClassifier:
    """Return a tiny frozen classifier that is not trained but distinguishes sounds.

    Its batch statistics are those of loud and quiet input, and its head makes small differences count.
    """
    torch.manual_seed(0)
    classifier = CompactClassifier(labels, n_mels=16, channels=(4, 4, 8, 8), **settings)
    for _ in range(20):
        classifier(torch.rand(4, 44, 513) * torch.rand(4, 44, 1) * 20)
    classifier.head.weight.data *= 20
    return classifier.freeze()


class LoudnessDetector(Classifier):
    """A detector of one event, behind the front end :data:`SMALL`: its logit is a weighted sum of X, less ``offset``.

    ``weights`` [T, F] are those of each bin, and 0 beyond them; longer clips count to where they end. ``asked`` are the
    sizes of the batches that it was given.
    """

    NAME = "loudness"

    def __init__(self, weights: torch.Tensor, offset: float = 0.0):
        super().__init__(["event"], SMALL, "multi")
        self.weights, self.offset, self.asked = weights, offset, []

    def forward(self, magnitude, valid=None):
        """See :meth:`Classifier.forward`; there is no gradient."""
        self.asked.append(len(magnitude))
        n_frames = min(magnitude.shape[1], len(self.weights))
        loudness = torch.log1p(magnitude.detach()[:, :n_frames]) * self.weights[:n_frames]
        logits = loudness.sum((1, 2))[:, None] - self.offset
        return ClassifierOutput(logits, logits, ())


def batch_of(spectrogram, output, target) -> SimpleNamespace:
    """Return what classifiers and metrics need of a batch, for magnitudes without a sound."""
    clips = SimpleNamespace(spectrogram=spectrogram)
    return SimpleNamespace(clips=clips, spectrogram=spectrogram, output=output, target=target)


def training_step(interpreter, wavs, lengths=None):
    """Return what a training step computes: the prediction, and the terms of the loss."""
    batch = interpreter.classifier.analyse(wavs, lengths)
    prediction, masked = interpreter(batch), None
    if interpreter.uses_masked_logits:
        pair = MaskedPair.of(batch.clips, prediction.mask, interpreter.settings.apply)
        masked = interpreter.classifier.classify_pair(pair)
    return prediction, interpreter.objective(batch, prediction, masked)


def arguments(job: str, data_folder: Path, output_folder: Path, yaml: Path | None = None, **settings) -> list[str]:
    """Return the command line of a tiny run.

    ``None`` stands for an option without a value, and two underscores for a dot: ``method__channels=4``.
    """
    yaml = yaml or RECIPE / "hparams" / YAMLS[job]
    chosen = {
        **SETTINGS.get(Path(yaml).stem, SETTINGS[Path(YAMLS[job]).stem]),
        "data_folder": data_folder,
        "output_folder": output_folder,
        "cache_folder": output_folder.parent / "cache",
        **{name.replace("__", "."): value for name, value in settings.items()},
    }
    line = [str(yaml)]
    for name, value in chosen.items():
        line += [f"--{name}"] if value is None else [f"--{name}", str(value)]
    return line


def call(function, *args) -> Outcome:
    """Call a ``main`` in this process and leave no trace of its seeds."""
    out, err = io.StringIO(), io.StringIO()
    seed, state, threads = os.environ.get("SB_GLOBAL_SEED"), torch.get_rng_state(), torch.get_num_threads()
    # Networks this small are slower on two threads, much so where other processes want the cores too.
    torch.set_num_threads(1)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = function(*args)
    finally:
        torch.set_rng_state(state)
        torch.set_num_threads(threads)
        if seed is None:
            os.environ.pop("SB_GLOBAL_SEED", None)
        else:
            os.environ["SB_GLOBAL_SEED"] = seed
    return Outcome(code, out.getvalue(), err.getvalue())


def run(job: str, data_folder: Path, output_folder: Path, yaml: Path | None = None, **settings) -> Outcome:
    """Run a job in this process."""
    line = arguments(job, data_folder, output_folder, yaml, **settings)
    return call(runner.main, job, str(RECIPE / SCRIPTS[job]), line)


def run_process(command: list[str], cwd: Path = RECIPE) -> Outcome:
    """Run Python in a process of its own, in the recipe's folder; a death by signal -n is exit status -n."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,  # a stop for what hangs, however busy the machine is
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def run_and_hit(moment: str, epoch: int, step: int, number: int, job: str, line: list[str]) -> Outcome:
    """Run a job in its own process and interrupt it there.

    ``moment`` is ``fit``: signal ``number`` after a step of an epoch; ``save``: signal ``number`` in the middle of the
    ``step``-th file that torch saves; ``limit``: no file may get longer than ``number`` bytes.
    """
    return run_process(["-c", WRAPPER, moment, str(epoch), str(step), str(number), job, *line])


def leftovers(folder: Path) -> list[str]:
    """Return what an interrupted writer may have left: temporary files and cut-off checkpoints."""
    return sorted(path.name for path in folder.rglob("*") if path.name.startswith((".", "partial+")))


def weights(run_folder: Path) -> dict[str, torch.Tensor]:
    """Return the exported weights of a finished run."""
    path = next(
        run_folder / name / "weights.pt" for name in ("interpreter", "classifier") if (run_folder / name).is_dir()
    )
    return torch.load(path, weights_only=True)


def assert_same_run(got: Path, expected: Path) -> None:
    """Check that two finished runs have the same weights, bit for bit, and the same last line in their logs."""
    first, second = weights(got), weights(expected)
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different
    assert last_line(got) == last_line(expected)


def last_line(run_folder: Path) -> str:
    """Return the last line of a run's training log."""
    return (run_folder / "train_log.txt").read_text(encoding="utf-8").splitlines()[-1]


def log_epochs(run_folder: Path) -> list[int]:
    """Return the epochs in a run's training log."""
    lines = (run_folder / "train_log.txt").read_text(encoding="utf-8").splitlines()
    return [int(line.split(",")[0].removeprefix("epoch: ")) for line in lines]
