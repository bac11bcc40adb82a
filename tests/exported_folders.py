"""Folders as they are published, for tests of several files; the tests that change one copy it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import noise

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.exported import CONFIG
from interpretability.files import sha256, write_json
from interpretability.methods import save_interpreter
from interpretability.methods.piq import PIQ
from interpretability.publishing.export import Choices, export
from interpretability.reading import read_object
from interpretability.report import figures

LABELS = ["rain", "yes", "(dog)"]  # what YAML takes for something else
CHOICES = Choices("anna/birds", "mit")


def copied(folder: Path, target: Path) -> Path:
    """Return a copy of a published folder that a test may change."""
    shutil.copytree(folder, target)
    return target


def sign(folder: Path) -> None:
    """Write the hashes of the files as they are now into the description, as whoever changes a file can."""
    config = read_object(folder / CONFIG)
    names = [name for name in config["files"] if (folder / name).is_file()]
    write_json(folder / CONFIG, {**config, "files": {name: sha256(folder / name) for name in names}})


def sounds() -> torch.Tensor:
    """Return white, brown and violet noise [3, 16000] at 16 kHz, each with a peak of 1."""
    wavs = torch.cat([noise(1, 16000, seed=1), noise(1, 16000, seed=2).cumsum(1), noise(1, 16001, seed=3).diff()])
    return wavs / wavs.abs().amax(1, keepdim=True)


def settle(module: torch.nn.Module, run: Callable[[], object]) -> None:
    """Give a module the batch statistics of what it is run on, once."""
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        module.train()
        run()
        module.eval()


def settled_conv2d(labels=LABELS) -> Conv2dClassifier:
    """Return an untrained classifier that hears another class in each of :func:`sounds`."""
    torch.manual_seed(0)
    classifier = Conv2dClassifier(labels, dim=4, lin_neurons=8)
    magnitude, head = classifier.frontend.analyse(sounds()).magnitude, classifier.classifier
    settle(classifier, lambda: classifier(magnitude))
    with torch.no_grad():
        hidden = classifier(magnitude).embedding[:, None]
        for block in head.blocks:
            hidden = block(hidden)
        head.weight.copy_((hidden - hidden.mean(0))[:, 0])
    return classifier


def save_piq_of_speechbrain(folder: Path) -> Path:
    """Save a PIQ with SpeechBrain's own networks, untrained, as a run's folder has it; its masks follow its keys."""
    save_classifier(settled_conv2d(), folder / "classifier", {"test_accuracy": 0.75, "n_test": 8})
    classifier = load_classifier(folder / "classifier")
    piq = PIQ(classifier, network="published", codebook_size=30)
    with torch.no_grad():
        piq.psi.codebook.embedding.weight.normal_(std=3.0)
        batch = classifier.analyse(sounds())
        settle(piq.psi, lambda: piq(batch))
        piq.psi.decoder[-1].weight.mul_(30)
    save_interpreter(piq, folder / "interpreter", {"clip_seconds": 1.0, "seed": 3})
    return folder


def publish(source: Path, folder: Path, choices: Choices = CHOICES, figure: bool = False) -> Path:
    """Make the folder that is published; the figure of its example is drawn only if asked for."""
    with pytest.MonkeyPatch.context() as patch:
        if not figure:
            patch.setattr(figures, "save_figure", lambda _, path: path.write_bytes(b""))
            patch.setattr(figures, "plot_explanation", lambda *_: None)
            patch.setattr(figures, "plot_components", lambda *_: None)
        return export(source, folder, choices)


def put_in_cache(root: Path, repo_id: str, folder: Path, commit: str, branch: str = "main") -> Path:
    """Put a published folder into a cache of huggingface_hub, as the end of a branch; return its folder there."""
    model = root / f"models--{repo_id.replace('/', '--')}"
    snapshot = model / "snapshots" / commit
    shutil.copytree(folder, snapshot)
    (model / "refs").mkdir(exist_ok=True)
    (model / "refs" / branch).write_text(commit)
    return snapshot
