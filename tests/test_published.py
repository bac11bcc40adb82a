"""Published checkpoints, as SpeechBrain's own modules save them, become folders that give the same answers."""

from pathlib import Path

import pytest
import torch
from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.inference.classifiers import AudioClassifier
from speechbrain.lobes.models.Cnn14 import Cnn14
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from speechbrain.lobes.models.PIQ import Conv2dEncoder_v2, VectorQuantizedPSI_Audio
from speechbrain.processing.features import STFT, Filterbank, spectral_magnitude
from transformers import FocalNetBackbone, FocalNetConfig, ViTConfig, ViTModel

from interpretability.classifiers import load_classifier
from interpretability.classifiers.published import FOCALNET_BASE, PUBLISHED, VIT_BASE
from interpretability.commands import main
from interpretability.errors import MissingError, UserError
from interpretability.methods import load_interpreter
from interpretability.published import import_published

pytestmark = pytest.mark.slow  # published networks and folders; others of their kind are quick

PIQ_ESC50, CNN14_ESC50 = PUBLISHED["piq"].paths, PUBLISHED["cnn14"].paths
LABELS = ["rain", "dog", "cat"]  # not in alphabetical order: the encoder's order counts
SIZES = {"dim": 4, "codebook_size": 30}


@pytest.fixture
def published(tmp_path):
    """A folder of published files, and the modules that they were saved from."""
    torch.manual_seed(0)
    modules = {
        "embedding_model": Conv2dEncoder_v2(dim=4),
        "classifier": CosineHead(4, lin_blocks=1, lin_neurons=192, out_neurons=3),
        "psi": VectorQuantizedPSI_Audio(dim=4, K=30, numclasses=3),
    }
    return publish(tmp_path / "published", modules, PIQ_ESC50), modules


@pytest.fixture(scope="module")
def published_cnn14(tmp_path_factory):
    """The same of CNN14; no test changes it."""
    torch.manual_seed(0)
    modules = {"embedding_model": Cnn14(80, 4, return_reps=True), "classifier": torch.nn.Linear(4, 3)}
    modules["embedding_model"](torch.rand(4, 64, 80))  # batch statistics that are not the initial ones
    return publish(tmp_path_factory.mktemp("cnn14") / "published", modules, CNN14_ESC50), modules


def publish(folder, modules, names):
    """Save modules and a label encoder under their published names."""
    folder.mkdir()
    for name, module in modules.items():
        torch.save(module.state_dict(), folder / Path(names[name]).name)
        module.eval()
    encoder = CategoricalEncoder()
    encoder.update_from_iterable(LABELS, sequence_input=False)
    encoder.save(str(folder / "label_encoder.txt"))
    return folder


def paths(folder, names=PIQ_ESC50):
    return {name: str(folder / Path(path).name) for name, path in names.items()}


def test_same_answers_as_speechbrains_own_interpreter(published, tmp_path):
    folder, modules = published
    import_published("piq", tmp_path / "ours", paths(folder), **SIZES)
    ours = load_interpreter(tmp_path / "ours")
    assert ours.classifier.labels == LABELS
    wav = torch.randn(1, 80000, generator=torch.Generator().manual_seed(0))
    batch = ours.classifier.analyse(wav)
    spectrogram = batch.spectrogram
    with torch.no_grad():
        maps = modules["embedding_model"](spectrogram.log_magnitude)
        cosines = modules["classifier"](maps.mean((-1, -2)))[:, 0]
        drawn = torch.sigmoid(modules["psi"](maps, cosines.argmax(1))[0])[:, 0]
    torch.testing.assert_close(batch.output.logits, 30 * cosines, rtol=1e-4, atol=1e-4)
    mask = ours.mask(batch)
    torch.testing.assert_close(mask[:, : drawn.shape[1]], drawn, rtol=1e-3, atol=1e-4)


def test_every_key_keeps_the_class_that_it_was_trained_for(published, tmp_path):
    """Of 300 keys for 3 classes the published code gives the first class 101, and the saved interpreter still does."""
    folder, _ = published
    psi = VectorQuantizedPSI_Audio(dim=4, K=300, numclasses=3).eval()
    psi.codebook.embedding.weight.data.normal_()
    torch.save(psi.state_dict(), folder / "psi_model.ckpt")
    import_published("piq", tmp_path / "ours", paths(folder), dim=4, codebook_size=300)
    ours = load_interpreter(tmp_path / "ours")
    assert torch.bincount(ours.psi.classes).tolist() == [101, 99, 100]
    assert ours.settings.partition == "published"
    batch = ours.classifier.analyse(torch.randn(3, 16000), target=torch.tensor([0, 1, 2]))
    with torch.no_grad():
        _, _, keys = psi(batch.output.feature_maps[-1], batch.target)
        torch.testing.assert_close(ours(batch).drawing.quantised, keys)


def test_the_classifier_inside_serves_the_recipes(published, tmp_path):
    import_published("piq", tmp_path / "ours", paths(published[0]), **SIZES)
    classifier = load_classifier(tmp_path / "ours" / "classifier")
    assert classifier.labels == LABELS
    assert classifier.frontend.settings.resampling == "published"  # as it was trained


def test_weights_that_do_not_fit_are_refused_and_nothing_is_written(published, tmp_path):
    with pytest.raises(UserError, match="do not fit"):
        import_published("piq", tmp_path / "ours", paths(published[0]), dim=8, codebook_size=30)
    assert not (tmp_path / "ours").exists()


#: How the file of a label encoder ends.
EXTRAS = "================\n'starting_index' => 0\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("__import__('os').system('touch MARK') => 0", "no labels of a CategoricalEncoder"),
        (f"{'(' * 5000} => 0", "no labels of a CategoricalEncoder"),
        ("'a' => x", "no labels of a CategoricalEncoder"),
        (f"'a' => 0\n'b' => 2\n{EXTRAS}", "its label encoder has the indices .0, 2., expected 0 to 1"),
        (EXTRAS, "has no label_encoder with labels"),
    ],
)
def test_a_label_encoder_is_data_and_has_a_label_for_each_index(text, words, published, tmp_path):
    folder, mark = published[0], tmp_path / "mark"
    (folder / "label_encoder.txt").write_text(text.replace("MARK", str(mark)))
    with pytest.raises(UserError, match=rf"label_encoder\.txt: {words}") as caught:
        import_published("piq", tmp_path / "ours", source=folder, **SIZES)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_a_missing_file_is_named(published, tmp_path):
    folder, _ = published
    (folder / "psi_model.ckpt").unlink()
    with pytest.raises(MissingError, match=r"psi_model\.ckpt"):
        import_published("piq", tmp_path / "ours", paths(folder), **SIZES)
    with pytest.raises(UserError, match="unknown paths decoder"):
        import_published("piq", tmp_path / "ours", {"decoder": "x"})


def test_cnn14_gives_the_answers_of_speechbrains_own_modules(published_cnn14, tmp_path):
    folder, modules = published_cnn14
    returned = import_published("cnn14", tmp_path / "ours", paths(folder, CNN14_ESC50), emb_dim=4, features="log1p")
    ours = load_classifier(tmp_path / "ours")
    assert ours.labels == returned.labels == LABELS
    assert returned.frozen
    assert ours.description["training"]["imported_from"] == paths(folder, CNN14_ESC50)
    assert ours.description["training"]["fixed_length"] is True
    wav = torch.randn(1, 80000, generator=torch.Generator().manual_seed(0))
    magnitude = ours.frontend.analyse(wav).magnitude
    fbank = Filterbank(n_mels=80, n_fft=1024, sample_rate=16000, log_mel=False)
    with torch.no_grad():
        embedding, _ = modules["embedding_model"](torch.log1p(fbank(magnitude)))
        wanted = modules["classifier"](embedding)[:, 0]
    for classifier in (ours, returned):
        torch.testing.assert_close(classifier(magnitude).logits, 30 * wanted, rtol=1e-4, atol=1e-4)
    chosen = {"emb_dim": 4, "features": "log1p", "logit_scale": 1.0}
    unscaled = import_published("cnn14", tmp_path / "plain", paths(folder, CNN14_ESC50), **chosen)
    torch.testing.assert_close(unscaled(magnitude).logits, wanted, rtol=1e-4, atol=1e-5)


def test_a_cnn14_that_does_not_fit_or_is_not_there(published_cnn14, tmp_path):
    whole = paths(published_cnn14[0], CNN14_ESC50)
    with pytest.raises(UserError, match="do not fit Cnn14"):
        import_published("cnn14", tmp_path / "ours", whole, emb_dim=8, features="log1p")
    with pytest.raises(MissingError, match=r"absent\.ckpt"):
        import_published("cnn14", tmp_path / "ours", {**whole, "classifier": str(tmp_path / "absent.ckpt")}, emb_dim=4)
    with pytest.raises(UserError, match="unknown paths psi, expected some of embedding_model, classifier"):
        import_published("cnn14", tmp_path / "ours", {"psi": "x"})
    # One parameter less than the network has: SpeechBrain's own way of loading would only warn.
    state = torch.load(whole["classifier"], weights_only=True)
    torch.save({"weight": state["weight"]}, tmp_path / "classifier.ckpt")
    with pytest.raises(UserError, match="bias"):
        import_published(
            "cnn14",
            tmp_path / "ours",
            {**whole, "classifier": str(tmp_path / "classifier.ckpt")},
            emb_dim=4,
            features="log1p",
        )
    assert not (tmp_path / "ours").exists()


CNN14_YAML = """
pretrained_path: speechbrain/cnn14-esc50
sample_rate: 16000
use_melspectra: True
use_log1p_mel: LOG1P
spec_mag_power: 0.5
compute_stft: !new:speechbrain.processing.features.STFT
    sample_rate: !ref <sample_rate>
    n_fft: 1024
    win_length: 23.2199
    hop_length: 11.6099
compute_fbank: !new:speechbrain.processing.features.Filterbank
    n_mels: 80
    n_fft: 1024
    sample_rate: !ref <sample_rate>
    log_mel: LOG_MEL
embedding_model: !new:speechbrain.lobes.models.Cnn14.Cnn14
    mel_bins: 80
    emb_dim: 4
classifier: HEAD
modules:
    compute_stft: !ref <compute_stft>
    compute_fbank: !ref <compute_fbank>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
        label_encoder: !ref <label_encoder>
    paths:
        embedding_model: !ref <pretrained_path>/embedding_model_esc50ft.ckpt
        classifier: !ref <pretrained_path>/classifier_esc50.ckpt
        label_encoder: !ref <pretrained_path>/label_encoder.txt
"""
HEADS = {
    "linear": "!new:torch.nn.Linear [4, 3]",
    "cosine": "!new:speechbrain.lobes.models.ECAPA_TDNN.Classifier {input_size: 4, lin_blocks: 1, out_neurons: 3}",
}
#: Under the old names, beside other weights under the new ones.
OLD_CNN14 = {"embedding_model": "x/embedding_model_esc50ft.ckpt", "classifier": "x/classifier_esc50.ckpt"}


def describe(folder, features="db", head="linear", line="", instead=""):
    """Write the YAML of a published CNN14 into its folder, with one line replaced."""
    in_db = features == "db"
    text = CNN14_YAML.replace("LOG1P", str(not in_db)).replace("LOG_MEL", str(in_db)).replace("HEAD", HEADS[head])
    assert f"\n{line}" in text
    (folder / "hyperparams.yaml").write_text(text.replace(f"\n{line}", f"\n{instead}", 1))


def batch_statistics_of(module, values):
    """Run a module so that its batch statistics are those of the values; return its answer in eval mode."""
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        for _ in range(2):
            module.train()(values)
        return module.eval()(values)


@pytest.mark.parametrize(
    ("features", "head", "rate"),
    [("db", "cosine", 44100), ("db", "linear", 16000), ("log1p", "linear", 16000)],
)
def test_cnn14_sees_the_features_of_its_yaml(features, head, rate, tmp_path, capsys):
    """SpeechBrain's own modules give the same answers, and so does its class, which has no log1p of mel bands.

    The first is as the published ones are: at 44.1 kHz, and with mel bands up to 8 kHz.
    """
    folder = tmp_path / "published"
    count = rate // 2
    wavs = torch.randn(6, count, generator=torch.Generator().manual_seed(0))
    wavs = wavs * torch.sin(torch.arange(1, 7)[:, None] * torch.arange(count) / 900)
    wavs = wavs.cumsum(1).diff(dim=1, n=2) if head == "linear" else wavs.cumsum(1)
    wavs = wavs / wavs.abs().amax(1, keepdim=True)  # the front end's level
    fbank = Filterbank(n_mels=80, n_fft=1024, sample_rate=rate, log_mel=features == "db")
    stft = STFT(sample_rate=rate, n_fft=1024, win_length=23.2199, hop_length=11.6099)
    mel = fbank(spectral_magnitude(stft(wavs), power=0.5))
    torch.manual_seed(0)
    encoder = Cnn14(80, 4, return_reps=True)
    embedding, _ = batch_statistics_of(encoder, mel if features == "db" else mel.log1p())
    last = torch.nn.Linear(4, 3) if head == "linear" else CosineHead(4, lin_blocks=1, out_neurons=3)
    wanted = batch_statistics_of(last, embedding)[:, 0]
    publish(folder, {"embedding_model": encoder, "classifier": last}, OLD_CNN14)
    for name in ("embedding_model.ckpt", "classifier.ckpt"):
        torch.save({"other": torch.zeros(1)}, folder / name)
    describe(folder, features, head, "sample_rate: 16000", f"sample_rate: {rate}")
    command = ["--model", "cnn14", "--source", str(folder), "--out", str(tmp_path / "ours"), "--emb_dim", "4"]
    assert main.import_published(command) == 0
    assert f"features: {features} of mel bands, as hyperparams.yaml says; head: {head}" in capsys.readouterr().out
    ours = load_classifier(tmp_path / "ours")
    assert ours.frontend.settings.sample_rate == rate
    with torch.no_grad():
        logits = ours.analyse(wavs).output.logits
    torch.testing.assert_close(logits / 30, wanted, rtol=1e-3, atol=1e-3)
    assert wanted.std(0).min() > 0.01
    if features == "db":
        here = {"pretrained_path": str(folder)}
        theirs = AudioClassifier.from_hparams(str(folder), savedir=str(tmp_path / "savedir"), overrides=here)
        out_prob, _, index, _ = theirs.classify_batch(wavs)
        torch.testing.assert_close(logits / 30, out_prob[:, 0], rtol=1e-3, atol=1e-3)
        assert index.flatten().tolist() == logits.argmax(1).tolist()


def test_a_yaml_that_cannot_be_followed_is_refused_and_runs_nothing(published_cnn14, tmp_path):
    folder, mark = tmp_path / "published", tmp_path / "mark"
    folder.mkdir()
    for name, path in paths(published_cnn14[0], CNN14_ESC50).items():
        (folder / Path(OLD_CNN14.get(name, path)).name).symlink_to(path)
    run = f"!!python/object/apply:os.system ['touch {mark}']"
    for line, instead, words in (
        (
            "    log_mel: True",
            "    log_mel: False",
            "log_mel is False and use_log1p_mel is False",
        ),
        ("use_log1p_mel: False", "use_log1p_mel: True", "log_mel is True and use_log1p_mel is True"),
        ("use_melspectra: True", "use_melspectra: False", "expected mel bands: speechbrain:FOLDER opens the folder"),
        ("spec_mag_power: 0.5", "spec_mag_power: 1.0", "spec_mag_power 1.0, which does not fit"),
        (
            "    sample_rate: !ref <sample_rate>\n    n_fft",
            "    sample_rate: 8000\n    n_fft",
            "sample_rate 16000, which",
        ),
        ("    log_mel: True", "    f_min: 100", "f_min 100, which does not fit, or cannot be chosen here"),
        ("    log_mel: True", "    f_max: 9000", "f_max is 9000, expected at most 8000 Hz"),
        ("spec_mag_power: 0.5", f"evil: ({run})", "is refused: it could run any code"),
        ("    log_mel: True", f'    log_mel: !tuple "({run})"', "is refused: it could run any code"),
    ):
        describe(folder, line=line, instead=instead)
        with pytest.raises(UserError, match=words):
            import_published("cnn14", tmp_path / "ours", source=folder, emb_dim=4)
    assert not mark.exists()
    assert not (tmp_path / "ours").exists()


# ---------------------------------------------------------------------------------------------- networks of images

VIT = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
FOCALNET = {"image_size": 32, "patch_size": 4, "embed_dim": 4, "depths": [1, 1, 2, 2]}
#: What published files call a part of the ViT, and what the network calls it now.
OLD_NAMES = {
    "encoder.layer.": "layers.",
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def old_names(state):
    """A state under the names that Transformers 4 gave it: those that the published file has."""
    renamed = {}
    for name, value in state.items():
        for old, new in OLD_NAMES.items():
            name = name.replace(new, old)
        renamed[name] = value
    return renamed


def image_modules(kind):
    """The modules of a published recipe, small: ViT with its pooler, FocalNet as a backbone."""
    torch.manual_seed(0)
    if kind == "vit":
        network = ViTModel(ViTConfig(**VIT))
    else:
        network = FocalNetBackbone(FocalNetConfig(**FOCALNET, hidden_sizes=[192, 384, 768, 768]))
    width = 16 if kind == "vit" else 32
    return {
        "embedding_model": network,
        "classifier": CosineHead(width, lin_blocks=1, lin_neurons=192, out_neurons=3),
    }


IMAGE = {"vit": VIT, "focalnet": FOCALNET}
EACH_IMAGE = pytest.mark.parametrize("kind", IMAGE)


def published_answer(kind, modules, magnitude):
    """The cosines of the published recipe's steps."""
    pixels = torch.nn.functional.interpolate(
        torch.log1p(magnitude)[:, None], size=(32, 32), mode="bilinear", antialias=True
    ).repeat(1, 3, 1, 1)
    with torch.no_grad():
        if kind == "vit":
            embedding = modules["embedding_model"](pixels).last_hidden_state.mean(1)
        else:
            embedding = modules["embedding_model"](pixels).feature_maps[-1].mean((-1, -2))
        return modules["classifier"](embedding)[:, 0]


@pytest.mark.parametrize(("kind", "names"), [("vit", "new"), ("vit", "old"), ("focalnet", "new")])
def test_networks_of_images_give_the_answers_of_the_published_recipe(kind, names, tmp_path, capfd):
    published, config = PUBLISHED[kind].paths, IMAGE[kind]
    modules = image_modules(kind)
    folder = publish(tmp_path / "published", modules, published)
    if names == "old":
        state = old_names(modules["embedding_model"].state_dict())
        assert "encoder.layer.1.attention.attention.query.weight" in state
        assert "encoder.layer.0.attention.output.dense.bias" in state
        assert "encoder.layer.0.output.dense.weight" in state
        assert "encoder.layer.1.layernorm_before.weight" in state
        assert not [name for name in state if name.startswith("layers.") or "_proj" in name or "fc" in name]
        torch.save(state, folder / "embedding_model.ckpt")
    capfd.readouterr()
    returned = import_published(kind, tmp_path / "ours", paths(folder, published), config=config, image_frames=100)
    assert capfd.readouterr() == ("", "")
    ours = load_classifier(tmp_path / "ours")
    assert type(ours) is type(returned)
    assert ours.labels == returned.labels == LABELS
    assert returned.frozen
    assert ours.description["training"]["imported_from"] == paths(folder, published)
    magnitude = torch.rand(2, 100, 513, generator=torch.Generator().manual_seed(0)) * 4
    wanted = published_answer(kind, modules, magnitude)
    for classifier in (ours, returned):
        torch.testing.assert_close(classifier(magnitude).logits, 30 * wanted, rtol=1e-4, atol=1e-4)
    unscaled = import_published(
        kind, tmp_path / "plain", paths(folder, published), config=config, image_frames=100, logit_scale=1.0
    )
    torch.testing.assert_close(unscaled(magnitude).logits, wanted, rtol=1e-4, atol=1e-5)


@EACH_IMAGE
def test_networks_of_images_that_do_not_fit_are_refused(kind, tmp_path):
    published, config = PUBLISHED[kind].paths, IMAGE[kind]
    modules = image_modules(kind)
    folder = publish(tmp_path / "published", modules, published)
    whole = modules["embedding_model"].state_dict()
    with pytest.raises(UserError, match="weights do not fit"):
        import_published(kind, tmp_path / "ours", paths(folder, published), config={**config, "num_channels": 1})
    some = next(name for name in whole if name.endswith("fc2.weight"))
    torch.save({name: value for name, value in whole.items() if name != some}, folder / "embedding_model.ckpt")
    with pytest.raises(UserError, match=r"do not fit .*fc2\.weight"):
        import_published(kind, tmp_path / "ours", paths(folder, published), config=config)
    torch.save({**whole, "decoder.weight": torch.zeros(2)}, folder / "embedding_model.ckpt")
    with pytest.raises(UserError, match=r"it has no decoder\.weight"):
        import_published(kind, tmp_path / "ours", paths(folder, published), config=config)
    for content in ([1, 2], {"layers": [1]}):
        torch.save(content, folder / "embedding_model.ckpt")
        with pytest.raises(UserError, match=r"embedding_model\.ckpt: not a weights file"):
            import_published(kind, tmp_path / "ours", paths(folder, published), config=config)
    (folder / "embedding_model.ckpt").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"embedding_model\.ckpt: not a weights file"):
        import_published(kind, tmp_path / "ours", paths(folder, published), config=config)
    with pytest.raises(UserError, match="unknown paths psi"):
        import_published(kind, tmp_path / "ours", {"psi": "x"})
    assert not (tmp_path / "ours").exists()


def test_the_documented_sizes_are_those_of_the_published_models():
    """Millions of parameters, from the papers, less the head for 1000 classes: ViT-B/16 86.6, FocalNet-B 88.1."""
    with torch.device("meta"):
        vit = ViTModel(ViTConfig(**VIT_BASE), add_pooling_layer=False)
        focalnet = FocalNetBackbone(FocalNetConfig(**FOCALNET_BASE, hidden_sizes=[256, 512, 1024, 1024]))
    assert sum(parameter.numel() for parameter in vit.parameters()) == pytest.approx(86.6e6 - 769e3, rel=2e-3)
    assert sum(parameter.numel() for parameter in focalnet.parameters()) == pytest.approx(88.1e6 - 1025e3, rel=2e-3)


@EACH_IMAGE
def test_command_line_for_networks_of_images(kind, tmp_path, capsys):
    published, config = PUBLISHED[kind].paths, IMAGE[kind]
    modules = image_modules(kind)
    folder = publish(tmp_path / "published", modules, published)
    modules["embedding_model"].config.save_pretrained(folder)
    arguments = ["--model", kind, "--out", str(tmp_path / "ours"), "--source", str(folder)]
    assert main.import_published([*arguments, "--image_frames", "100"]) == 0
    assert f"{'ViT' if kind == 'vit' else 'FocalNet'} for 3 classes" in capsys.readouterr().out
    ours = load_classifier(tmp_path / "ours")
    assert ours.image_frames == 100
    assert config.items() <= ours.architecture()["config"].items()
    assert main.import_published([*arguments, "--dim", "4"]) == 2
    assert f"--dim given, but --model {kind} has --image_frames" in capsys.readouterr().err
    assert (
        main.import_published(["--model", kind, "--out", str(tmp_path / "no"), "--source", str(tmp_path / "absent")])
        == 2
    )
    assert capsys.readouterr().err.startswith("error: could not get")


# ------------------------------------------------------------------------------------------------- the command line


def test_command_line(published, tmp_path, capsys):
    arguments = ["--dim", "4", "--codebook_size", "30"]
    assert main.import_published(["--out", str(tmp_path / "ours"), "--source", str(published[0]), *arguments]) == 0
    assert "PIQ for 3 classes" in capsys.readouterr().out
    assert main.import_published(["--out", str(tmp_path / "no"), "--source", str(tmp_path / "absent"), *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: could not get")


def test_command_line_for_cnn14(published_cnn14, tmp_path, capsys):
    arguments = ["--model", "cnn14", "--out", str(tmp_path / "ours"), "--source", str(published_cnn14[0])]
    assert main.import_published([*arguments, "--emb_dim", "4"]) == 2
    assert "which says what features the model was trained with: pass --features log1p" in capsys.readouterr().err
    assert main.import_published([*arguments, "--emb_dim", "4", "--features", "db"]) == 0
    done = capsys.readouterr().out
    assert "CNN14 for 3 classes" in done
    assert "features: db of mel bands, as --features says; head: linear" in done
    assert load_classifier(tmp_path / "ours").architecture()["emb_dim"] == 4
    # A size of the other model is refused, and not passed over in silence.
    assert main.import_published([*arguments, "--codebook_size", "30"]) == 2
    assert capsys.readouterr().err == (
        "error: --codebook_size given, but --model cnn14 has --n_mels, --emb_dim, --features: leave it out or name its "
        "model\n"
    )
    assert main.import_published(["--out", str(tmp_path / "piq"), "--n_mels", "64"]) == 2
    assert "--n_mels given, but --model piq has" in capsys.readouterr().err
