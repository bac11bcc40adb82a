"""SpeechBrain's classifiers: equal to its own ``EncoderClassifier`` and ``AudioClassifier``, and no code is run."""

import json
import pickle
import shutil
import time

import pytest
import soundfile
import tiny
import torch
from payloads import HELPERS, RUN, RUNNING
from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.inference.classifiers import AudioClassifier, EncoderClassifier
from tiny import LABELS

from interpretability.classifiers import load_classifier, open_classifier, save_classifier
from interpretability.classifiers.folder import digest_of
from interpretability.classifiers.speechbrain import SpeechBrainClassifier
from interpretability.commands import main
from interpretability.errors import MissingError, UserError
from interpretability.files import sha256
from interpretability.methods import load_interpreter, save_interpreter
from interpretability.methods.gradients import Gradients
from interpretability.methods.lmac import LMAC
from interpretability.transfer import take_over

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
            heard = ours.classify_samples(wavs[:1], torch.tensor([9000]), ours.frontend.n_frames(9000))
        torch.testing.assert_close(heard.embedding, theirs.encode_batch(wavs[:1])[:, 0], rtol=1e-4, atol=1e-5)

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


#: What would touch MARK if it reached HyperPyYAML; in place of a setting, of a tuple of settings, and of a path.
PAYLOADS = {
    "tag": ("res2net_scale: 2", f"res2net_scale: {RUN}"),
    "tuple": ("res2net_scale: 2", f"res2net_scale: ({RUN})"),
    "tuple of settings": ("kernel_sizes: [5, 3, 3, 3, 1]", f"kernel_sizes: (5, 3, 3, 3, {RUN})"),
    "explicit tuple": ("res2net_scale: 2", f'res2net_scale: !tuple "({RUN})"'),
    "path": ("classifier: !ref <pretrained_path>/classifier.ckpt", f"classifier: ({RUN})"),
    "paths": ("    paths:\n", f"    custom_hooks: ({RUN})\n    paths:\n"),
    "what nothing needs": ("n_mels: 16", f"n_mels: 16\nother: ({RUN})"),
    "reference": ("n_classes: 3", f'n_classes: !ref (<sample_rate>, <text>)\ntext: "{RUN}"'),
    "apply": ("res2net_scale: 2", "res2net_scale: !apply:os.system ['touch MARK']"),
    "module": ("res2net_scale: 2", "res2net_scale: !module:antigravity"),
    "include": ("res2net_scale: 2", "res2net_scale: !include:evil.yaml"),
    "power": ("res2net_scale: 2", "res2net_scale: !ref <sample_rate>**<sample_rate>**<sample_rate>"),
    "aliases": (
        "n_mels: 16",
        "n_mels: 16\na0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)),
    ),
    "depth": ("res2net_scale: 2", f"res2net_scale: {'[' * 5000}{']' * 5000}"),
    "size": ("lin_neurons: 6", "lin_neurons: 1000000000"),
    "size of two": ("input_size: 6\n    out_neurons: !ref <n_classes>", "input_size: 900000\n    out_neurons: 900000"),
    "rate": ("sample_rate: 8000", "sample_rate: 1000000000000"),
}


def payload(name, mark):
    return tuple(text.replace("MARK", str(mark)) for text in PAYLOADS[name])


class Evil:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


@pytest.mark.slow
def test_the_recipe_trains_a_folder_of_speechbrains_further(folders, tmp_path):
    """The head rows of classes with the same names stay, and the front end is the folder's."""
    data = tiny.make_data(tmp_path / "data", {LABELS[0]: 300.0, "shrill": 3500.0, "other": 1500.0})
    source, run = f"speechbrain:{folders['xvector']}", tmp_path / "run"
    yaml = tiny.RECIPE / "hparams" / "classifier_speechbrain.yaml"
    epochs = {"finetune_from": source, "freeze_epochs": 1, "number_of_epochs": 2}
    # The head has batch normalisation, and no two clips have one length.
    assert "give --fixed_length True --clip_seconds" in tiny.run("classifier", data, run, yaml, **epochs).line
    run, length = tmp_path / "fixed", {"fixed_length": True, "clip_seconds": 0.5}
    outcome = tiny.run("classifier", data, run, yaml, **epochs, **length)
    assert outcome.code == 0, outcome.err
    assert f"and the head rows of {LABELS[0]}" in outcome.out
    before, after = open_classifier(source), load_classifier(run)
    assert set(after.labels) == {LABELS[0], "shrill", "other"}
    assert after.frontend.settings == before.frontend.settings
    assert not torch.equal(
        after.module.embedding_model.blocks[0].conv.weight, before.module.embedding_model.blocks[0].conv.weight
    )


class TestNoCodeRuns:
    """Whatever a folder holds, and through whichever door it is opened: one line, and no mark."""

    @pytest.mark.parametrize("name", PAYLOADS)
    def test_a_folder_of_speechbrains(self, name, folders, tmp_path):
        folder, mark = tmp_path / "model", tmp_path / "mark"
        shutil.copytree(folders["ecapa"], folder)
        (folder / "evil.yaml").write_text(f"x: {RUN}".replace("MARK", str(mark)))
        edit(folder, *payload(name, mark))
        began = time.process_time()
        done = tiny.call(main.import_classifier, [f"speechbrain:{folder}", "--list_layers"])
        assert str(folder) in done.line
        assert len(done.line) < 700
        assert time.process_time() - began < 10
        assert not mark.exists()

    @pytest.fixture(scope="class")
    def saved(self, loaded, tmp_path_factory):
        """The folder of a run whose interpreter explains such a classifier, with a payload in what was kept of it."""

        def make(text):
            run = tmp_path_factory.mktemp("run")
            inner = run / "interpreter" / "classifier"
            save_interpreter(LMAC(loaded["ecapa"], channels=4, decoder_channels=[4]), run / "interpreter")
            path = inner / "classifier.json"
            description = json.loads(path.read_text("utf-8"))
            description["architecture"]["hyperparams"] = text(description["architecture"]["hyperparams"])
            description["sha256"] = digest_of(sha256(inner / "weights.pt"), description)
            path.write_text(json.dumps(description))
            outer = run / "interpreter" / "interpreter.json"
            outer.write_text(json.dumps({**json.loads(outer.read_text()), "classifier_sha256": description["sha256"]}))
            return run

        return make

    @pytest.mark.parametrize("name", ["tag", "tuple", "explicit tuple", "apply", "module", "power", "size"])
    def test_folders_of_ours_that_hold_one(self, name, saved, tiny_esc50, tmp_path):
        mark = tmp_path / "mark"
        run = saved(lambda text: f"{text}x: {payload(name, mark)[1].partition(': ')[2]}\n")
        inner, sound = run / "interpreter" / "classifier", str(next((tiny_esc50 / "audio").glob("*.wav")))
        for opener, place in ((load_classifier, inner), (open_classifier, inner), (load_interpreter, run)):
            with pytest.raises(UserError, match="hyperparams") as caught:
                opener(place)
            assert "\n" not in str(caught.value)
        lmac = tiny.RECIPE / "hparams" / "lmac.yaml"
        out = str(tmp_path / "out")
        for outcome in (
            tiny.call(main.interpret, ["--classifier", str(inner), sound, "--out", out]),
            tiny.call(main.interpret, [str(run), sound, "--out", out]),
            tiny.call(main.import_classifier, [str(inner), "--out", out]),
            tiny.run("interpreter", tiny_esc50, tmp_path / "new", lmac, classifier_folder=inner),
        ):
            assert "hyperparams" in outcome.line
        assert not mark.exists()

    @pytest.mark.slow
    @pytest.mark.parametrize("name", RUNNING)
    def test_every_payload_at_every_door(self, name, folders, saved, tmp_path):
        """In the YAML of a folder for SpeechBrain, and in what a saved classifier keeps of it."""
        folder, mark, sound = tmp_path / "model", tmp_path / "mark", tmp_path / "sound.wav"
        soundfile.write(sound, tiny.noise(8000).numpy(), 16000)
        shutil.copytree(folders["ecapa"], folder)
        (folder / "evil.yaml").write_text(f"x: {RUN}".replace("MARK", str(mark)))
        helpers, value = (text.replace("MARK", str(mark)) for text in (HELPERS, RUNNING[name]))
        edit(folder, "res2net_scale: 2", f"res2net_scale: {value}")
        edit(folder, "n_mels: 16", f"n_mels: 16\n{helpers}")
        run = saved(lambda text: helpers + text.replace('"res2net_scale": 2', f'"res2net_scale": {value}'))
        inner, out = str(run / "interpreter" / "classifier"), str(tmp_path / "out")
        for opener, place in (
            (open_classifier, f"speechbrain:{folder}"),
            (open_classifier, inner),
            (load_classifier, inner),
            (load_interpreter, run),
        ):
            with pytest.raises(UserError) as caught:
                opener(place)
            assert "\n" not in str(caught.value)
        for command, line in (
            (main.interpret, ["--classifier", f"speechbrain:{folder}", str(sound), "--out", out]),
            (main.interpret, ["--classifier", inner, str(sound), "--out", out]),
            (main.interpret, [str(run), str(sound), "--out", out]),
            (main.import_classifier, [f"speechbrain:{folder}", "--list_layers"]),
            (main.import_classifier, [inner, "--out", out]),
        ):
            assert tiny.call(command, line).line.startswith("error: ")
        assert not mark.exists()

    @pytest.mark.parametrize("name", ["embedding_model.ckpt", "classifier.ckpt", "mean_var_norm.ckpt"])
    @pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
    def test_pickles_in_place_of_weights(self, name, kind, folders, tmp_path):
        folder, mark = tmp_path / "model", tmp_path / "mark"
        shutil.copytree(folders["ecapa, global statistics"], folder)
        content = {"weight": Evil(mark), "count": 1, "glob_mean": Evil(mark), "glob_std": Evil(mark)}
        if kind == "pickle":
            (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        else:
            torch.save(content, folder / name, _use_new_zipfile_serialization=kind == "zip")
        with pytest.raises(UserError, match=name) as caught:
            open_classifier(f"speechbrain:{folder}")
        assert "\n" not in str(caught.value)
        assert not mark.exists()

    @pytest.mark.parametrize(
        "text",
        [
            "__import__('os').system('touch MARK') => 0",
            f"{'(' * 5000} => 0",
            f"{'-' * 100_000}1 => 0",
            "'a' => x",
            "\udcff",
            "'a'",
        ],
    )
    def test_label_encoders_are_data(self, text, folders, tmp_path):
        folder, mark = tmp_path / "model", tmp_path / "mark"
        shutil.copytree(folders["ecapa"], folder)
        text = text.replace("MARK", str(mark))
        (folder / "label_encoder.txt").write_text(f"{text}\n", "utf-8", errors="surrogateescape")
        with pytest.raises(UserError, match=r"label_encoder\.txt: no labels of a CategoricalEncoder") as caught:
            open_classifier(f"speechbrain:{folder}")
        assert "\n" not in str(caught.value)
        assert not mark.exists()


class TestWeightsThatAreNotThere:
    """A model is explained with the weights of its folder, or not at all: what no file gives would be random."""

    def state(self, folder, name="classifier.ckpt"):
        return torch.load(folder / name, weights_only=True)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda state: {}, r"classifier\.ckpt: weights do not fit Classifier: 1 missing .'weight'"),
            (lambda state: {"other": state["weight"]}, r"classifier\.ckpt: .*1 missing .'weight'.; 1 unknown .'other'"),
            (lambda state: {**state, "bias": torch.ones(3)}, r"classifier\.ckpt: .*1 unknown .'bias'"),
            (lambda state: {"weight": state["weight"][:2]}, r"classifier\.ckpt: .*'weight' is .2, 6. in the file"),
        ],
    )
    def test_files_that_do_not_hold_all(self, change, words, folders, tmp_path):
        folder = tmp_path / "model"
        shutil.copytree(folders["ecapa"], folder)
        torch.save(change(self.state(folder)), folder / "classifier.ckpt")
        with pytest.raises(UserError, match=words):
            open_classifier(f"speechbrain:{folder}")

    def test_batch_statistics_count_and_how_often_they_were_updated_does_not(self, folders, tmp_path):
        folder = tmp_path / "model"
        shutil.copytree(folders["ecapa"], folder)
        state = self.state(folder, "embedding_model.ckpt")
        old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
        assert len(old) < len(state)
        torch.save(old, folder / "embedding_model.ckpt")
        assert open_classifier(f"speechbrain:{folder}").labels == LABELS
        torch.save(
            {name: value for name, value in old.items() if "running_mean" not in name}, folder / "embedding_model.ckpt"
        )
        with pytest.raises(UserError, match=r"embedding_model\.ckpt: .*running_mean"):
            open_classifier(f"speechbrain:{folder}")

    @pytest.mark.parametrize(
        ("kind", "line", "module"),
        [
            ("ecapa", "        embedding_model: !ref <embedding_model>\n", "embedding_model"),
            ("xvector", "        classifier: !ref <classifier>\n", "classifier"),
            ("ecapa, global statistics", "        mean_var_norm: !ref <mean_var_norm>\n", "mean_var_norm"),
        ],
    )
    def test_a_pretrainer_that_leaves_a_module_out(self, kind, line, module, folders, tmp_path):
        folder = tmp_path / "model"
        shutil.copytree(folders[kind], folder)
        head, _, tail = (folder / "hyperparams.yaml").read_text("utf-8").partition("    loadables:")
        assert line in tail
        (folder / "hyperparams.yaml").write_text(f"{head}    loadables:{tail.replace(line, '', 1)}", "utf-8")
        with pytest.raises(UserError, match=f"no file is loaded with the weights of {module}: name it among"):
            open_classifier(f"speechbrain:{folder}")

    def test_a_pretrainer_that_loads_nothing_but_labels(self, folders, tmp_path):
        folder = tmp_path / "model"
        shutil.copytree(folders["ecapa"], folder)
        for name in ("embedding_model", "classifier"):
            edit(folder, f"        {name}: !ref <{name}>\n", "")
        with pytest.raises(UserError, match="no file is loaded with the weights of embedding_model, classifier"):
            open_classifier(f"speechbrain:{folder}")

    def test_one_file_may_hold_several_modules(self, folders, tmp_path):
        folder = tmp_path / "model"
        shutil.copytree(folders["ecapa"], folder)
        edit(
            folder,
            "        embedding_model: !ref <embedding_model>\n        classifier: !ref <classifier>\n",
            "        model: !ref <model>\n",
        )
        edit(
            folder,
            "label_encoder: !new",
            "model: !new:torch.nn.ModuleList [[!ref <embedding_model>, !ref <classifier>]]\nlabel_encoder: !new",
        )
        parts = [self.state(folder, f"{name}.ckpt") for name in ("embedding_model", "classifier")]
        torch.save(
            {f"{i}.{name}": value for i, part in enumerate(parts) for name, value in part.items()},
            folder / "model.ckpt",
        )
        ours, theirs = (open_classifier(f"speechbrain:{place}") for place in (folder, folders["ecapa"]))
        assert all(torch.equal(value, ours.state_dict()[name]) for name, value in theirs.state_dict().items())


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
        self.refuse(folder, "classifier.ckpt: not a weights file")

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


@pytest.mark.parametrize("kind", ["ecapa", "xvector"])
def test_a_head_for_other_classes_keeps_the_rows_of_those_that_it_knows(kind, tmp_path):
    torch.manual_seed(0)
    source = open_classifier(f"speechbrain:{make_folder(tmp_path / 'source', kind)}")
    labels = ["bell", LABELS[2], "wind", LABELS[0]]
    settings = source.architecture_for(len(labels))
    ours = SpeechBrainClassifier(labels, source.frontend.settings, source.task, **settings)
    rows, theirs = ours.class_rows(), source.state_dict()
    transfer = take_over(ours, source, labels, source.labels, rows, source.class_rows())
    assert transfer.by_class == list(rows)
    assert transfer.remade == []
    for name in rows:
        assert torch.equal(ours.state_dict()[name][[1, 3]], theirs[name][[2, 0]])
    save_classifier(ours.eval(), tmp_path / "saved")
    wavs = 0.3 * tiny.noise(1, 4000)
    again = load_classifier(tmp_path / "saved")
    assert torch.equal(again.analyse(wavs).output.logits, ours.analyse(wavs).output.logits)
