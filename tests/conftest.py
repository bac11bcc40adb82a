"""Fixtures that more than one part of the suite needs."""

import os
from pathlib import Path

# The suite's networks are tiny: a second thread costs more than it gives, above all beside other processes.
# Set before torch is imported; the processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import tiny

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def esc10_folder() -> Path:
    """The folder of the real ESC-10 clips; the test is skipped where it is absent."""
    named = os.environ.get("AUDIO_INTERPRETABILITY_ESC10")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data" / "ESC-10"
    if not (folder / "meta" / "esc50.csv").is_file():
        pytest.skip(f"no ESC-10 in {folder}: set AUDIO_INTERPRETABILITY_ESC10 to its folder")
    return folder


@pytest.fixture(scope="session")
def tiny_esc50(tmp_path_factory) -> Path:
    """A folder in ESC-50's layout: 3 classes of noisy tones, 3 folds, 18 clips of 0.4 to 0.6 s at 8 kHz. Read only."""
    return tiny.make_data(tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture(scope="session")
def tiny_classifier_folder(tiny_esc50, tmp_path_factory) -> Path:
    """The folder of a compact classifier trained on ``tiny_esc50`` for 3 epochs; its parent is the run. Read only."""
    output_folder = tmp_path_factory.mktemp("tiny_classifier") / "run"
    outcome = tiny.run("classifier", tiny_esc50, output_folder, number_of_epochs=3)
    assert outcome.code == 0, outcome.err
    return output_folder / "classifier"


@pytest.fixture(scope="session")
def tiny_piq_run(tiny_esc50, tiny_classifier_folder, tmp_path_factory) -> Path:
    """The output folder of PIQ trained on ``tiny_esc50`` for 3 epochs. Read only: copy it to change it."""
    output_folder = tmp_path_factory.mktemp("tiny_piq") / "run"
    outcome = tiny.run(
        "interpreter", tiny_esc50, output_folder, number_of_epochs=3, classifier_folder=tiny_classifier_folder
    )
    assert outcome.code == 0, outcome.err
    return output_folder


@pytest.fixture(scope="session")
def tiny_lmac_run(tiny_esc50, tiny_classifier_folder, tmp_path_factory) -> Path:
    """The output folder of L-MAC trained on ``tiny_esc50`` for 2 epochs. Read only: copy it to change it."""
    output_folder = tmp_path_factory.mktemp("tiny_lmac") / "run"
    outcome = tiny.run(
        "interpreter",
        tiny_esc50,
        output_folder,
        tiny.RECIPE / "hparams" / "lmac.yaml",
        number_of_epochs=2,
        classifier_folder=tiny_classifier_folder,
    )
    assert outcome.code == 0, outcome.err
    return output_folder
