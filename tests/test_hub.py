"""Published checkpoints, as SpeechBrain's own modules save them, become folders that give the same answers."""

import importlib.util
from pathlib import Path

import pytest
import torch
from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from speechbrain.lobes.models.PIQ import Conv2dEncoder_v2, VectorQuantizedPSI_Audio

from interpretability.classifiers import load_classifier
from interpretability.errors import MissingError, UserError
from interpretability.hub import PIQ_ESC50, import_piq
from interpretability.methods import load_interpreter

LABELS = ["rain", "dog", "cat"]  # not in alphabetical order: the encoder's order counts
SIZES = {"dim": 4, "codebook_size": 30}


@pytest.fixture
def published(tmp_path):
    """A folder of published files, and the modules that they were saved from."""
    torch.manual_seed(0)
    folder = tmp_path / "published"
    folder.mkdir()
    modules = {
        "embedding_model": Conv2dEncoder_v2(dim=4),
        "classifier": CosineHead(4, lin_blocks=1, lin_neurons=192, out_neurons=3),
        "psi": VectorQuantizedPSI_Audio(dim=4, K=30, numclasses=3),
    }
    for name, module in modules.items():
        torch.save(module.state_dict(), folder / Path(PIQ_ESC50[name]).name)
        module.eval()
    encoder = CategoricalEncoder()
    encoder.update_from_iterable(LABELS, sequence_input=False)
    encoder.save(str(folder / "label_encoder.txt"))
    return folder, modules


def paths(folder):
    return {name: str(folder / Path(path).name) for name, path in PIQ_ESC50.items()}


def test_same_answers_as_speechbrains_own_interpreter(published, tmp_path):
    folder, modules = published
    import_piq(tmp_path / "ours", paths(folder), **SIZES)
    ours = load_interpreter(tmp_path / "ours")
    assert ours.classifier.labels == LABELS
    wav = torch.randn(1, 80000, generator=torch.Generator().manual_seed(0))
    spectrogram = ours.frontend.analyse(wav)
    with torch.no_grad():
        maps = modules["embedding_model"](spectrogram.log_magnitude)
        cosines = modules["classifier"](maps.mean((-1, -2)))[:, 0]
        drawn = torch.sigmoid(modules["psi"](maps, cosines.argmax(1))[0])[:, 0]
    output = ours.classifier(spectrogram.magnitude)
    torch.testing.assert_close(output.logits, 30 * cosines, rtol=1e-4, atol=1e-4)
    mask = ours.mask(spectrogram, output, output.predicted)
    torch.testing.assert_close(mask[:, : drawn.shape[1]], drawn, rtol=1e-3, atol=1e-4)


def test_the_classifier_inside_serves_the_recipes(published, tmp_path):
    import_piq(tmp_path / "ours", paths(published[0]), **SIZES)
    assert load_classifier(tmp_path / "ours" / "classifier").labels == LABELS


def test_weights_that_do_not_fit_are_refused_and_nothing_is_written(published, tmp_path):
    with pytest.raises(UserError, match="do not fit"):
        import_piq(tmp_path / "ours", paths(published[0]), dim=8, codebook_size=30)
    assert not (tmp_path / "ours").exists()


def test_a_missing_file_is_named(published, tmp_path):
    folder, _ = published
    (folder / "psi_model.ckpt").unlink()
    with pytest.raises(MissingError, match=r"psi_model\.ckpt"):
        import_piq(tmp_path / "ours", paths(folder), **SIZES)
    with pytest.raises(UserError, match="unknown paths decoder"):
        import_piq(tmp_path / "ours", {"decoder": "x"})


def test_command_line(published, tmp_path, capsys):
    script = Path(__file__).resolve().parents[1] / "tools" / "import_published.py"
    spec = importlib.util.spec_from_file_location("import_published", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = ["--dim", "4", "--codebook_size", "30"]
    assert module.main(["--out", str(tmp_path / "ours"), "--source", str(published[0]), *arguments]) == 0
    assert "PIQ for 3 classes" in capsys.readouterr().out
    assert module.main(["--out", str(tmp_path / "no"), "--source", str(tmp_path / "absent"), *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: could not get")
