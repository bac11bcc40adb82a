"""SpeechBrain's classifiers: equal to its own ``EncoderClassifier`` and ``AudioClassifier``, and no code is run."""

import json

import pytest
import torch
from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.inference.classifiers import AudioClassifier, EncoderClassifier
from tiny import LABELS

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.classifiers.speechbrain import SpeechBrainClassifier
from interpretability.errors import MissingError, UserError
from interpretability.methods.gradients import Gradients

RATE = 8000

FEATURES = """
compute_features: !new:speechbrain.lobes.features.Fbank
    sample_rate: !ref <sample_rate>
    n_mels: !ref <n_mels>
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: NORM_TYPE
    std_norm: STD_NORM
"""
ECAPA = """
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
    channels: [8, 8, 8, 8, 24]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 4
    res2net_scale: 2
    se_channels: 4
    lin_neurons: 6
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 6
    out_neurons: !ref <n_classes>
"""
XVECTOR = """
embedding_model: !new:speechbrain.lobes.models.Xvector.Xvector
    in_channels: !ref <n_mels>
    activation: !name:torch.nn.LeakyReLU
    tdnn_blocks: 3
    tdnn_channels: [8, 8, 12]
    tdnn_kernel_sizes: [5, 3, 1]
    tdnn_dilations: [1, 2, 1]
    lin_neurons: 6
classifier: !new:speechbrain.lobes.models.Xvector.Classifier
    input_shape: [null, null, 6]
    activation: !name:torch.nn.LeakyReLU
    lin_blocks: 1
    lin_neurons: 6
    out_neurons: !ref <n_classes>
"""
ENCODER = """
modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
"""
CONV2D = """
use_melspectra: USE_MEL
spec_mag_power: 0.5
compute_stft: !new:speechbrain.processing.features.STFT
    sample_rate: !ref <sample_rate>
    n_fft: 256
    hop_length: 16
    win_length: 32
compute_fbank: !new:speechbrain.processing.features.Filterbank
    n_mels: !ref <n_mels>
    n_fft: 256
    sample_rate: !ref <sample_rate>
    log_mel: True
embedding_model: !new:speechbrain.lobes.models.PIQ.Conv2dEncoder_v2
    dim: 6
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 6
    out_neurons: !ref <n_classes>
modules:
    compute_stft: !ref <compute_stft>
    compute_fbank: !ref <compute_fbank>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
"""
HEAD = """
pretrained_path: a-user/on-the-hub
sample_rate: 8000
n_mels: 16
n_classes: 3
__set_seed: !apply:torch.manual_seed [1]
"""
TAIL = """
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
        label_encoder: !ref <label_encoder>
        EXTRA
    paths:
        embedding_model: !ref <pretrained_path>/embedding_model.ckpt
        classifier: !ref <pretrained_path>/classifier.ckpt
        label_encoder: !ref <pretrained_path>/label_encoder.txt
"""
KINDS = {
    "ecapa": (EncoderClassifier, FEATURES + ECAPA + ENCODER, {"NORM_TYPE": "sentence", "STD_NORM": "False"}),
    "xvector": (EncoderClassifier, FEATURES + XVECTOR + ENCODER, {"NORM_TYPE": "sentence", "STD_NORM": "True"}),
    "ecapa, global statistics": (
        EncoderClassifier,
        FEATURES + ECAPA + ENCODER,
        {"NORM_TYPE": "global", "STD_NORM": "True", "EXTRA": "mean_var_norm: !ref <mean_var_norm>"},
    ),
    "conv2d on mels": (AudioClassifier, CONV2D, {"USE_MEL": "True"}),
    "conv2d on the spectrogram": (AudioClassifier, CONV2D, {"USE_MEL": "False"}),
}


def make_folder(folder, kind="ecapa"):
    """Write a folder as people publish it, with its paths leading to the hub."""
    from hyperpyyaml import load_hyperpyyaml

    folder.mkdir()
    text = HEAD + KINDS[kind][1] + TAIL
    for old, new in {"EXTRA": "", **KINDS[kind][2]}.items():
        text = text.replace(old, new)
    torch.manual_seed(4)
    loaded = load_hyperpyyaml(text)
    modules = torch.nn.ModuleDict(loaded["modules"])
    # Batch statistics are not those of a fresh network, so that one that is not loaded is noticed.
    for module in modules.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    for name in ("embedding_model", "classifier"):
        torch.save(modules[name].state_dict(), folder / f"{name}.ckpt")
    if "global" in kind:
        norm = modules["mean_var_norm"].train()
        norm(3 * torch.randn(4, 50, 16) - 20, torch.ones(4))
        norm._save(folder / "mean_var_norm.ckpt")
    encoder = CategoricalEncoder()
    encoder.update_from_iterable(LABELS)
    encoder.save(folder / "label_encoder.txt")
    (folder / "hyperparams.yaml").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each kind."""
    root = tmp_path_factory.mktemp("published")
    return {kind: make_folder(root / kind.replace(" ", "_"), kind) for kind in KINDS}


@pytest.fixture(scope="module")
def loaded(folders):
    return {kind: SpeechBrainClassifier.from_folder(folder).freeze() for kind, folder in folders.items()}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def original(kind, folder, tmp_path):
    """The classifier that SpeechBrain itself loads from the folder."""
    return KINDS[kind][0].from_hparams(
        str(folder), savedir=str(tmp_path / "savedir"), overrides={"pretrained_path": str(folder)}
    )


def noise(*shape, seed=0):
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def analysed(classifier, wavs, lengths=None):
    return classifier.frontend.analyse(wavs, lengths)


class TestEqualToSpeechBrain:
    def test_outputs_and_labels(self, kind, folders, loaded, tmp_path):
        theirs, ours = original(kind, folders[kind], tmp_path), loaded[kind]
        wavs = noise(3, 9000)
        with torch.no_grad():
            out_prob, _, index, text = theirs.classify_batch(wavs)
            answer = ours.module(wavs, torch.ones(3))
            heard = ours.classify(analysed(ours, wavs))
        out_prob = out_prob.reshape(3, 3)
        assert out_prob.std() > 1e-3  # it tells something
        # SpeechBrain adds noise of up to 9e-5 to the mean that x-vectors pool.
        torch.testing.assert_close(answer, out_prob, rtol=1e-5, atol=2e-4 if kind == "xvector" else 1e-5)
        # Through analysis and synthesis of the sound.
        torch.testing.assert_close(heard.logits / ours.settings.logit_scale, out_prob, rtol=1e-3, atol=1e-3)
        assert heard.predicted.tolist() == index.flatten().tolist()
        assert [ours.labels[i] for i in heard.predicted] == [t[0] if isinstance(t, list) else t for t in text]
        assert ours.labels == LABELS

    def test_embeddings_of_an_encoder(self, folders, loaded, tmp_path):
        theirs, ours = original("ecapa", folders["ecapa"], tmp_path), loaded["ecapa"]
        wavs, lengths = noise(2, 9000), torch.tensor([1.0, 0.5])
        embedding = theirs.encode_batch(wavs, lengths)
        with torch.no_grad():
            expected = theirs.mods.classifier(embedding).squeeze(1)
            torch.testing.assert_close(ours.module(wavs, lengths), expected, rtol=1e-5, atol=1e-6)

    def test_probabilities(self, loaded):
        """A log-softmax head's logits are its log probabilities; cosines are scaled as in training."""
        wavs = noise(2, 9000)
        with torch.no_grad():
            logits = loaded["xvector"].classify(analysed(loaded["xvector"], wavs)).logits
            torch.testing.assert_close(logits.exp().sum(1), torch.ones(2))
            torch.testing.assert_close(logits.softmax(1), logits.exp())
            cosines = loaded["ecapa"].module(wavs, torch.ones(2))
        assert loaded["xvector"].settings.logit_scale == 1.0
        assert loaded["ecapa"].settings.logit_scale == 30.0
        assert cosines.abs().max() <= 1

    def test_the_folder_is_only_read(self, folders):
        folder = folders["ecapa, global statistics"]
        before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        SpeechBrainClassifier.from_folder(folder)
        assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before

    def test_nothing_is_fetched(self, folders, monkeypatch):
        """The YAML's paths lead to the hub; a local copy is a local copy."""

        def fetch(*args, **kwargs):
            raise AssertionError("fetched")

        monkeypatch.setattr("speechbrain.utils.parameter_transfer.fetch", fetch)
        monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
        assert SpeechBrainClassifier.from_folder(folders["xvector"]).labels == LABELS


class TestContract:
    def test_the_same_sound_gives_the_same_answer(self, kind, loaded):
        with torch.no_grad():
            spectrogram = analysed(loaded[kind], noise(2, 6000))
            assert torch.equal(loaded[kind].classify(spectrogram).logits, loaded[kind].classify(spectrogram).logits)

    def test_padding_batch_and_order(self, kind, loaded):
        classifier = loaded[kind]
        wavs = noise(3, 9000)
        counts = [9000, 4700, 6500]
        lengths = torch.tensor(counts) / 9000
        with torch.no_grad():
            together = classifier.classify(analysed(classifier, wavs, lengths))
            for i, n in enumerate(counts):
                alone = classifier.classify(analysed(classifier, wavs[i : i + 1, :n]))
                torch.testing.assert_close(together.logits[i], alone.logits[0], rtol=1e-3, atol=2e-3)
                for maps, single in zip(together.feature_maps, alone.feature_maps, strict=True):
                    rows = single.shape[2]
                    tolerance = 1e-3 * float(single.abs().max()) + 1e-5
                    torch.testing.assert_close(maps[i, :, :rows], single[0], rtol=1e-3, atol=tolerance)
                    assert not maps[i, :, rows:].any()

    def test_feature_maps_lie_on_their_grids(self, kind, loaded):
        classifier = loaded[kind]
        with torch.no_grad():
            spectrogram = analysed(classifier, noise(2, 12000))
            output = classifier.classify(spectrogram)
        n_frames = spectrogram.magnitude.shape[1]
        assert output.feature_maps
        for maps, grid, channels in zip(
            output.feature_maps, classifier.feature_grids(n_frames), classifier.feature_channels, strict=True
        ):
            assert maps.shape == (2, channels, len(grid.frames), len(grid.bins))

    def test_layers_that_nobody_names(self, loaded):
        names = {kind: [layer.name for layer in classifier.layers] for kind, classifier in loaded.items()}
        blocks = ["blocks.0", "blocks.1", "blocks.3", "mfa"]
        assert sorted(names["ecapa"]) == [f"embedding_model.{name}" for name in blocks]
        assert len(names["xvector"]) == 4
        assert all(name.startswith("embedding_model.blocks.") for name in names["xvector"])
        strides = loaded["conv2d on mels"].feature_strides
        assert len(strides) == 4
        assert list(strides) == sorted(set(strides))

    def test_gradients_reach_the_sound(self, kind, loaded):
        classifier = loaded[kind]
        wavs = noise(2, 4000).requires_grad_()
        classifier.module(wavs, torch.ones(2))[:, 0].sum().backward()
        assert wavs.grad.isfinite().all()
        assert (wavs.grad.abs().amax(1) > 0).all()
        # Tried in a direction: the output changes as the gradient says.
        step = 1e-2 * wavs.grad / wavs.grad.norm()
        with torch.no_grad():
            ahead, behind = (classifier.module(wavs + sign * step, torch.ones(2))[:, 0].sum() for sign in (1, -1))
        assert float(ahead - behind) == pytest.approx(2 * float((step * wavs.grad).sum()), rel=0.1)

    def test_it_can_be_explained(self, loaded):
        explanation = Gradients(loaded["ecapa"], n_steps=3).explain(noise(1, 4000), target="rain")
        assert explanation.mask.isfinite().all()
        assert explanation.mask.max() == 1

    def test_saved_and_loaded_it_gives_the_same(self, kind, loaded, tmp_path):
        classifier = loaded[kind]
        save_classifier(classifier, tmp_path / "saved")
        again = load_classifier(tmp_path / "saved")
        assert (again.labels, again.task) == (classifier.labels, classifier.task)
        assert again.architecture() == classifier.architecture()
        assert again.frontend.settings == classifier.frontend.settings
        with torch.no_grad():
            spectrogram = analysed(classifier, noise(2, 6000))
            first, second = classifier.classify(spectrogram), again.classify(spectrogram)
        assert torch.equal(first.logits, second.logits)
        for one, other in zip(first.feature_maps, second.feature_maps, strict=True):
            assert torch.equal(one, other)
        assert not list((tmp_path / "saved").glob("*.ckpt"))

    def test_what_is_saved_needs_nothing_else(self, loaded, tmp_path):
        save_classifier(loaded["ecapa"], tmp_path / "saved")
        text = json.loads((tmp_path / "saved" / "classifier.json").read_text("utf-8"))["architecture"]["hyperparams"]
        for word in ("hub", "pretrainer", "label_encoder", "seed"):
            assert word not in text

    def test_global_statistics_are_saved_and_move(self, loaded):
        classifier = loaded["ecapa, global statistics"]
        state = classifier.state_dict()
        mean = state["module.mean_var_norm.glob_mean"]
        assert mean.shape == (16,)
        assert (mean + 20).abs().max() < 3
        classifier.double()
        assert classifier.module["mean_var_norm"].glob_std.dtype == torch.float64
        classifier.float()

    def test_settings(self, folders):
        folder = folders["ecapa"]
        opened = SpeechBrainClassifier.from_folder(
            folder, ["a", "b", "c"], "multi", ["embedding_model.blocks.1"], logit_scale=2.0
        )
        assert (opened.labels, opened.task, opened.settings.logit_scale) == (["a", "b", "c"], "multi", 2.0)
        assert [layer.name for layer in opened.layers] == ["embedding_model.blocks.1"]
        assert opened.frontend.settings.sample_rate == RATE
        assert opened.frontend.settings.level == "none"
        assert opened.frontend.settings.resampling == "published"  # as SpeechBrain's own classes resample
        with pytest.raises(UserError, match="logit_scale is 0"):
            SpeechBrainClassifier.from_folder(folder, logit_scale=0)

    def test_the_rate_is_that_of_the_normalizer_where_no_other_is_named(self, tmp_path):
        folder = make_folder(tmp_path / "model")
        edit(folder, "sample_rate: 8000", "rate: 8000")
        edit(folder, "<sample_rate>", "<rate>")
        assert SpeechBrainClassifier.from_folder(folder).frontend.settings.sample_rate == 16000
        normalizer = "audio_normalizer: !new:speechbrain.dataio.preprocess.AudioNormalizer\n    sample_rate: 8000\n"
        edit(folder, "label_encoder: !new", normalizer + "label_encoder: !new")
        assert SpeechBrainClassifier.from_folder(folder).frontend.settings.sample_rate == 8000


def edit(folder, old, new):
    path = folder / "hyperparams.yaml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


class TestFoldersThatCannotBeUsed:
    @pytest.fixture
    def folder(self, tmp_path):
        return make_folder(tmp_path / "model")

    def refuse(self, folder, words, error=UserError):
        with pytest.raises(error, match=words) as caught:
            SpeechBrainClassifier.from_folder(folder)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "line",
        [
            "evil: !apply:os.system ['touch MARK']",
            "evil: !new:subprocess.Popen [[touch, MARK]]",
            "evil: !name:os.system",
            "evil: !module:os",
            "evil: !applyref:os.system ['touch MARK']",
            "evil: !applyref:speechbrain.utils.superpowers.run_shell ['touch MARK']",
            "evil: !include:other.yaml",
            "evil: !!python/object/apply:os.system ['touch MARK']",
            "evil: !<tag:yaml.org,2002:python/object/apply:os.system> ['touch MARK']",
            "evil: !!python/name:os.system",
            "evil: {deep: [{er: !apply:os.system ['touch MARK']}]}",
        ],
    )
    def test_tags_of_other_packages(self, folder, line, tmp_path):
        mark = tmp_path / "mark"
        edit(folder, "n_mels: 16", "n_mels: 16\n" + line.replace("MARK", str(mark)))
        self.refuse(folder, "the tag .* is refused: it could run any code")
        assert not mark.exists()

    @pytest.mark.parametrize(
        "node",
        [
            "!apply:speechbrain.utils.superpowers.run_shell ['touch MARK']",
            "!new:speechbrain.utils.superpowers.subprocess.Popen [[touch, MARK]]",
            "!new:speechbrain.lobes.features.torch.hub.os.system ['touch MARK']",
            "!new:torch.utils.data.DataLoader [[]]",
            "!new:speechbrain.inference.classifiers.EncoderClassifier",
            "!new:speechbrain.lobes.models.huggingface_transformers.wav2vec2.Wav2Vec2 [source, save]",
            "!new:speechbrain.lobes.models.discrete.dac.DAC {load_pretrained: true}",
            "!new:speechbrain.nnet.absent.Absent",
        ],
    )
    def test_anything_but_networks_where_it_would_be_built(self, folder, node, tmp_path):
        mark = tmp_path / "mark"
        edit(folder, "res2net_scale: 2", "res2net_scale: " + node.replace("MARK", str(mark)))
        self.refuse(folder, "is refused: expected networks of")
        assert not mark.exists()

    def test_what_the_classifier_does_not_need_is_not_run(self, folder, tmp_path):
        mark = tmp_path / "mark"
        edit(folder, "n_mels: 16", f"n_mels: 16\nevil: !apply:speechbrain.utils.superpowers.run_shell ['touch {mark}']")
        assert SpeechBrainClassifier.from_folder(folder).labels == LABELS
        assert not mark.exists()

    def test_a_saved_folder_runs_no_code_either(self, loaded, tmp_path):
        text = loaded["ecapa"].architecture()["hyperparams"]
        mark = tmp_path / "mark"
        for line in (
            f"x: !apply:os.system ['touch {mark}']",
            "x: !ref <modules.training>",
            f"x: !new:torch.hub.os.system ['touch {mark}']",
        ):
            with pytest.raises(UserError, match="is refused"):
                SpeechBrainClassifier(LABELS, hyperparams=f"{text}\n{line}\n")
        assert not mark.exists()

    def test_missing_files(self, folder, tmp_path):
        self.refuse(tmp_path / "absent", "no hyperparams.yaml in", MissingError)
        (folder / "classifier.ckpt").unlink()
        self.refuse(folder, "no classifier.ckpt in .*copy it there", MissingError)

    def test_damaged_files(self, folder):
        (folder / "classifier.ckpt").write_bytes(b"no weights")
        self.refuse(folder, "its files do not fit")

    def test_pickled_code_in_weights(self, folder, tmp_path):
        mark = tmp_path / "mark"

        class Evil:
            def __reduce__(self):
                return (open, (str(mark), "w"))

        torch.save({"weight": Evil()}, folder / "classifier.ckpt")
        self.refuse(folder, "its files do not fit")
        assert not mark.exists()

    def test_other_yamls(self, folder):
        edit(folder, "modules:\n    compute_features", "modules:\n    other_features")
        self.refuse(folder, "expected those of EncoderClassifier .* or of AudioClassifier")

    def test_a_yaml_that_is_none(self, folder):
        (folder / "hyperparams.yaml").write_text("a: [1\nb: 2", "utf-8")
        self.refuse(folder, "not valid YAML")
        (folder / "hyperparams.yaml").write_text("just words", "utf-8")
        self.refuse(folder, "hyperparams.yaml: ")

    def test_a_placeholder_that_nobody_filled(self, folder):
        edit(folder, "n_classes: 3", "n_classes: !PLACEHOLDER")
        self.refuse(folder, "PLACEHOLDER")

    def test_settings_that_a_network_refuses(self, folder):
        edit(folder, "res2net_scale: 2", "res2net_scala: 2")
        self.refuse(folder, "its modules cannot be built .*res2net_scala")

    def test_classes_that_do_not_fit(self, folder):
        encoder = CategoricalEncoder()
        encoder.update_from_iterable(["a", "b"])
        encoder.save(folder / "label_encoder.txt")
        self.refuse(folder, "expected logits")

    def test_no_label_encoder(self, folder):
        edit(folder, "label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder\n", "")
        edit(folder, "        label_encoder: !ref <label_encoder>\n", "")
        edit(folder, "        label_encoder: !ref <pretrained_path>/label_encoder.txt\n", "")
        self.refuse(folder, "pass the class names as labels")
        assert SpeechBrainClassifier.from_folder(folder, LABELS).labels == LABELS
