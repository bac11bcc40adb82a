"""``tools/import_classifier.py``: any model saved as a folder, its layers as a table, or a one-line error."""

import json
import sys

import pytest
import tiny
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.commands import main

LABELS = list(tiny.CLASSES)


@pytest.fixture(scope="module")
def tool():
    """Call the tool in this process."""
    return lambda *arguments: tiny.call(main.import_classifier, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tiny model of transformers at 8 kHz, for the classes of the tiny data."""
    return tiny.save_transformers_model(tmp_path_factory.mktemp("hf") / "model", LABELS, tiny.RATE)


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "imported_net.py").write_text(tiny.NETWORK.replace("classes=3", "classes=2"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "imported_net"
    sys.modules.pop("imported_net", None)


def test_a_model_of_transformers_becomes_a_folder_of_ours(tool, source, tmp_path):
    done = tool(
        f"hf:{source}",
        "--out",
        tmp_path / "saved",
        "--layers",
        "wav2vec2.encoder.layers.1",
        "--level",
        "peak",
        "--resampling",
        "published",
    )
    assert done.code == 0, done.err
    assert "huggingface classifier of 3 classes (single-label, 8000 Hz)" in done.out
    assert "feature maps: wav2vec2.encoder.layers.1" in done.out
    classifier = load_classifier(tmp_path / "saved")
    assert (classifier.labels, classifier.frontend.settings.level) == (LABELS, "peak")
    assert classifier.frontend.settings.resampling == "published"
    assert classifier.description["training"] == {"source": f"hf:{source}"}
    wavs = torch.randn(1, 5000, generator=torch.Generator().manual_seed(0))
    model = AutoModelForAudioClassification.from_pretrained(source).eval()
    features = AutoFeatureExtractor.from_pretrained(source)(wavs[0].numpy(), sampling_rate=8000, return_tensors="pt")
    logits = classifier.classify(classifier.frontend.analyse(wavs)).logits
    torch.testing.assert_close(logits, model(**features).logits, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_the_folder_serves_a_recipe(tool, source, tiny_esc50, tmp_path):
    assert tool(f"hf:{source}", "--out", tmp_path / "saved").code == 0
    yaml = tiny.RECIPE / "hparams" / "lmac.yaml"
    outcome = tiny.run("interpreter", tiny_esc50, tmp_path / "run", yaml, classifier_folder=tmp_path / "saved")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "run" / "interpreter" / "classifier" / "classifier.json").is_file()


def test_the_layers_are_listed_and_nothing_is_written(tool, source, tmp_path):
    done = tool(f"hf:{source}", "--list_layers", "--out", tmp_path / "saved")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["layer", "kind", "shape", "for", "1", "s", "stride"]
    starred = [line.split()[1] for line in lines[1:] if line.startswith("*")]
    assert starred == ["wav2vec2.encoder.layers.0", "wav2vec2.encoder.layers.1"]
    (line,) = [line for line in lines if line.split()[:2] == ["*", "wav2vec2.encoder.layers.1"]]
    assert line.split()[2:] == ["Wav2Vec2EncoderLayer", "1x24x8", "40.0", "ms"]
    assert not (tmp_path / "saved").exists()


def test_a_module_of_torch(tool, package, tmp_path):
    (tmp_path / "labels.txt").write_text("yes\nno\n")
    done = tool(
        f"torch:{package}:Net",
        *("--out", tmp_path / "saved", "--labels", tmp_path / "labels.txt", "--arguments", '{"width": 6}'),
        *("--sample_rate", 8000, "--task", "multi", "--scale", "linear"),
    )
    assert done.code == 0, done.err
    description = json.loads((tmp_path / "saved" / "classifier.json").read_text())
    assert description["architecture"]["module"] == f"{package}:Net"
    assert description["architecture"]["arguments"] == {"width": 6}
    assert (description["labels"], description["task"]) == (["yes", "no"], "multi")
    assert load_classifier(tmp_path / "saved", trust_remote_code=True).settings.scale == "linear"


MODELS = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 3)

    def answer(self, wavs):
        return self.head(wavs.unfold(1, 4, 4).mean(1))

    def forward(self, wavs):
        return self.answer(wavs)

class Softmax(Net):
    def forward(self, wavs):
        return (self.answer(wavs) * 100).softmax(1)

class Broken(Net):
    def forward(self, wavs):
        return self.answer(wavs).where(torch.tensor([True, True, False]), torch.tensor(float("nan")))

class Alone(Net):
    def forward(self, wavs):
        assert len(wavs) == 1
        return [self.answer(wavs).detach().numpy()]
"""


@pytest.mark.parametrize(
    ("name", "settings", "notes", "saved"),
    [
        ("Softmax", [], ["taken for probabilities (output=probabilities;"], {"output": "probabilities"}),
        ("Softmax", ["output=logits"], [], {"output": "logits"}),
        ("Alone", ["output=logits"], ["run one by one", "lets no gradient through"], {"one_by_one": True}),
        ("Net", ["task=multi", "thresholds=[0.1,0.2,0.3]", "output=logits"], [], {"thresholds": [0.1, 0.2, 0.3]}),
        ("Broken", ["output=logits"], None, "Broken gives NaN or infinity for 1 of 1 sounds, in 1 of 3 outputs"),
        ("Net", ["colour=red"], None, "takes no colour"),
        ("Net", ["sample_rate=16000"], None, "sample_rate is given by --sample_rate and by --classifier_settings"),
    ],
)
def test_how_a_model_behaves_is_said_and_saved_and_one_that_is_broken_is_not_imported(
    tool, tmp_path, monkeypatch, name, settings, notes, saved
):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "models_to_import.py").write_text(MODELS, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    done = tool(
        *(f"torch:models_to_import:{name}", "--out", tmp_path / "saved", "--labels", '["a", "b", "c"]'),
        *("--sample_rate", 8000, "--classifier_settings", "weights=none", *settings),
    )
    if notes is None:
        assert done.code == 2
        assert saved in done.line
        assert not (tmp_path / "saved").exists()
        return
    assert done.code == 0, done.err
    for words in notes:
        assert words in done.out
    architecture = json.loads((tmp_path / "saved" / "classifier.json").read_text())["architecture"]
    assert architecture.items() >= saved.items()


def test_a_folder_of_ours_is_copied(tool, tmp_path):
    digest = save_classifier(tiny.listening_classifier(LABELS), tmp_path / "one")
    assert tool(tmp_path / "one", "--out", tmp_path / "two").code == 0
    assert load_classifier(tmp_path / "two").description["sha256"] == digest
    assert "cannot be chosen" in tool(tmp_path / "one", "--list_layers").line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no --out"),
        (["--out", "X", "--layers", "wav2vec2.encoder.layer.1"], "near it are wav2vec2.encoder.layers.1"),
        (["--out", "X", "--weights", "w.pt"], "takes no weights"),
        (["--out", "X", "--labels", "nowhere.txt"], "no class names at nowhere.txt"),
        (["--out", "X", "--arguments", "width=3"], "--arguments: not valid JSON"),
        (["--out", "X", "--arguments", "[3]"], "expected a JSON object"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_left(tool, source, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    assert message in tool(f"hf:{source}", *options).line
    assert list(tmp_path.iterdir()) == []


def test_only_a_classifiers_folder_is_replaced(tool, source, tmp_path):
    before = sorted(path.name for path in source.iterdir())
    assert "this program is not known to have written there" in tool(f"hf:{source}", "--out", source).line
    assert sorted(path.name for path in source.iterdir()) == before
    (tmp_path / "made").mkdir()
    for _ in range(2):  # an empty folder, and an older classifier's
        assert tool(f"hf:{source}", "--out", tmp_path / "made").code == 0
    (tmp_path / "made" / "notes.txt").write_text("of the user")
    assert "holds 'notes.txt'" in tool(f"hf:{source}", "--out", tmp_path / "made").line
    assert (tmp_path / "made" / "notes.txt").read_text() == "of the user"


def test_class_names_are_text(tool, source, tmp_path):
    names = tmp_path / "labels.txt"
    names.write_bytes(b"\xff\xfe\x00")
    assert "not text in UTF-8" in tool(f"hf:{source}", "--out", tmp_path / "X", "--labels", names).line


def test_other_class_names_have_to_be_as_many(tool, source, tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    line = tool(f"hf:{source}", "--out", tmp_path / "X", "--labels", tmp_path / "labels.txt").line
    assert "got 2 class names, expected 3: one per logit" in line
    assert not (tmp_path / "X").exists()
