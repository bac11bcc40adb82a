"""Explanation: one clip of a batch at its own length, sounds that follow from the mask, saved as a whole."""

import inspect
import json
import math

import matplotlib
import numpy as np
import pytest
import soundfile
import tiny
import torch
from matplotlib.figure import Figure
from tiny import noise

from interpretability.classifiers.compact import CompactClassifier
from interpretability.data.annotations import read_track
from interpretability.data.audio import write_wav
from interpretability.dictionary import Components, component_mask, decompose
from interpretability.errors import UserError
from interpretability.events import EventSettings
from interpretability.explanation import Interpretation
from interpretability.files import LISTING, atomic_folder
from interpretability.frontend import apply_mask
from interpretability.methods.base import Interpreter
from interpretability.methods.baselines import EnergyMask, RandomMask
from interpretability.methods.gradients import Gradients
from interpretability.names import safe_name
from interpretability.report import figures
from interpretability.report.words import event_sentence

RATE = 16000


@pytest.fixture
def interpreter():
    torch.manual_seed(0)
    return EnergyMask(CompactClassifier(["cat", "dog", "rain"], n_mels=16, channels=(4, 4, 8, 8)), area=0.2)


class Words(Interpreter):
    """Explains by the components of a dictionary of noise bands, with given relevance."""

    NAME = "words"
    trainable = False

    def __init__(self, relevance, threshold=0.2, apply="log"):
        super().__init__(CompactClassifier(["cat", "dog"], n_mels=16, channels=(2, 2, 2, 2)), apply=apply)
        self.relevance, self.threshold = torch.tensor(relevance), threshold
        # Overlapping bands with a floor, so that every bin belongs to several words.
        matrix = torch.rand(513, len(relevance), generator=torch.Generator().manual_seed(1)) + 0.05
        self.register_buffer("matrix", matrix / matrix.norm(dim=0))

    def interpret(self, batch):
        activations = decompose(batch.spectrogram.log_magnitude, self.matrix)
        relevance = self.relevance.expand(len(batch), -1)
        selected = relevance > self.threshold
        mask = component_mask(self.matrix, activations, selected)
        return Interpretation(mask, Components(self.matrix, activations, relevance, selected))


@pytest.fixture
def quick_figures(monkeypatch):
    """Empty figures, for tests that look at sounds and lists: drawing takes long. Gives what would have been drawn."""
    drawn = {"plot_explanation": [], "plot_components": []}

    def recorded(function, calls):
        def plot(*arguments):
            calls.append(inspect.signature(function).bind(*arguments).arguments)
            return Figure(figsize=(1, 1))

        return plot

    for name, calls in drawn.items():
        monkeypatch.setattr(figures, name, recorded(getattr(figures, name), calls))
    return drawn


def snr_db(reference, signal):
    return 20 * math.log10(float(reference.norm()) / max(float((reference - signal).norm()), 1e-12))


def test_one_clip_of_a_batch_at_its_own_length(interpreter):
    explanation = interpreter.explain(noise(3, 8000), torch.tensor([1.0, 0.5, 0.8]))
    assert len(explanation) == 3
    clip = explanation[1]
    assert len(clip) == 1
    assert clip.sound.shape == clip.listenable.shape == clip.residual.shape == (1, 4000)
    assert clip.mask.shape == clip.spectrogram.magnitude.shape == (1, 1 + 4000 // 186, 513)
    assert clip.describe() == explanation.describe(1)
    assert torch.equal(explanation[-1].mask, explanation[2].mask)
    with pytest.raises(IndexError):
        explanation[3]


def test_as_plain_values_what_clips_have_in_common_is_said_once(interpreter):
    explanation = interpreter.explain(noise(2, 8000), torch.tensor([1.0, 0.5]))
    content = explanation.to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    for index, clip in enumerate(content["clips"]):
        assert not clip.keys() & content.keys()
        common = {name: value for name, value in content.items() if name != "clips"}
        assert {**common, **clip} == explanation.describe(index)
    assert {"method", "model", "sample_rate"} <= content.keys()


class Doubtful(EnergyMask):
    """Has no explanation of the second clip, and two notes."""

    notes = ("class-agnostic", "a test")

    def interpret(self, batch):
        interpretation = super().interpret(batch)
        interpretation.undefined = torch.arange(len(interpretation.mask)) == 1
        interpretation.mask[1] = 0
        return interpretation


def test_a_clip_without_an_explanation_says_so(interpreter, tmp_path, quick_figures):
    doubtful = Doubtful(interpreter.classifier, area=0.2)
    explanation = doubtful.explain(noise(2, 8000), torch.tensor([1.0, 0.5]))
    assert explanation.undefined.tolist() == [False, True]
    assert [explanation.describe(i)["undefined"] for i in range(2)] == [False, True]
    assert [explanation[i].undefined.tolist() for i in range(2)] == [[False], [True]]
    paths = explanation.save(tmp_path, index=1)
    saved = json.loads(paths["description"].read_text("utf-8"))
    assert (saved["undefined"], saved["notes"], saved["kept_area"]) == (True, ["class-agnostic", "a test"], 0.0)
    assert not soundfile.read(paths["explanation"])[0].any()
    plain = interpreter.explain(noise(1, 4000))
    saved = plain.describe()
    assert (saved["undefined"], saved["notes"]) == (False, [])
    plain.save(tmp_path / "plain", true_label="cat")
    marked, unmarked = quick_figures["plot_explanation"]
    assert (marked["undefined"], marked["notes"]) == (True, ["class-agnostic", "a test"])
    assert (unmarked["undefined"], unmarked["notes"]) == (False, [])
    assert marked["mask"].shape == marked["magnitude"].shape == (1 + 4000 // 186, 513)
    assert (marked["seconds"], marked["frontend"]) == (0.25, explanation.frontend)
    assert unmarked["title"].startswith(
        f"true: cat  ·  explained: {saved['explained']}  ·  [energy]\nHeard as {saved['predicted']} ("
    )
    assert torch.equal(torch.tensor(unmarked["mask"]), plain.mask[0])
    assert torch.equal(torch.tensor(unmarked["kept"]), plain.pair.inside[0])


def test_a_mask_where_there_is_said_to_be_none_is_refused(interpreter):
    doubtful = Doubtful(interpreter.classifier, area=0.2)
    doubtful.interpret = lambda batch: Interpretation(
        torch.ones_like(batch.spectrogram.magnitude), undefined=torch.tensor([True])
    )
    with pytest.raises(ValueError, match="explanation is undefined: expected zeros"):
        doubtful.explain(noise(1, 4000))


def test_a_binary_mask_splits_the_sound_in_two(interpreter):
    explanation = interpreter.explain(noise(1, 8000))
    assert snr_db(explanation.sound, explanation.listenable + explanation.residual) > 100
    # The loudest fifth of the bins has more than a fifth of the energy.
    assert explanation.listenable.square().sum() > 0.3 * explanation.sound.square().sum()


def test_saved_sounds_have_the_length_and_the_level_of_the_input(interpreter, tmp_path):
    wavs = noise(2, 16000)
    explanation = interpreter.explain(wavs, torch.tensor([1.0, 0.7]))
    paths = explanation.save(tmp_path / "clip", index=1, true_label="dog")
    event_files = ["events", "events_csv", "selections", "label_track"]
    assert list(paths) == ["input", "explanation", "residual", "mask", "figure", *event_files, "description"]
    assert sorted(path.name for path in (tmp_path / "clip").iterdir()) == sorted(
        [*(path.name for path in paths.values()), LISTING]
    )
    wav, rate = soundfile.read(paths["input"], dtype="float32")
    assert rate == RATE
    assert wav.shape == (11200,)
    reference = wavs[1, :11200] / wavs[1, :11200].abs().max()
    assert snr_db(reference, torch.tensor(wav)) > 100
    parts = [torch.tensor(soundfile.read(paths[name], dtype="float32")[0]) for name in ("explanation", "residual")]
    assert snr_db(reference, parts[0] + parts[1]) > 100  # all three at one scale
    saved = json.loads(paths["description"].read_text())
    assert saved["true"] == "dog"
    assert saved["explained"] == saved["predicted"] in explanation.labels
    assert saved["kept_area"] == pytest.approx(0.2, abs=1e-3)
    assert saved["seconds"] == 0.7
    assert paths["figure"].read_bytes()[:4] == b"\x89PNG"


class TestComponents:
    RELEVANCE = (0.5, -1.0, 0.9, 0.1, 0.9, 0.3)
    RANKED = (2, 4, 0, 5)  # above 0.2, the most relevant first, lower numbers first on ties

    @pytest.mark.slow
    def test_they_are_saved_as_sounds_a_figure_and_a_list(self, tmp_path):
        explanation = Words(self.RELEVANCE).explain(noise(2, 16000), torch.tensor([1.0, 0.7]))
        paths = explanation.save(tmp_path, index=1, extra={"source": "x"})
        names = [f"components/{rank:02}_component_{k}.wav" for rank, k in enumerate(self.RANKED, 1)]
        assert sorted(path.name for path in (tmp_path / "components").iterdir()) == [name[11:] for name in names]
        assert [paths[f"component_{k}"] for k in self.RANKED] == [tmp_path / name for name in names]
        assert paths["components"] == tmp_path / "components.png"
        assert paths["components"].read_bytes()[:4] == b"\x89PNG"
        assert all(path.is_file() for path in paths.values())
        saved = json.loads(paths["description"].read_text())
        assert saved["source"] == "x"
        assert [entry["component"] for entry in saved["components"]] == list(self.RANKED)
        assert [entry["relevance"] for entry in saved["components"]] == pytest.approx([0.9, 0.9, 0.5, 0.3])
        assert [entry["sound"] for entry in saved["components"]] == names

    @pytest.mark.parametrize("apply", ["log", "linear"])
    @pytest.mark.usefixtures("quick_figures")
    def test_a_sound_is_what_the_mask_of_its_component_keeps_at_the_scale_of_the_input(self, apply, tmp_path):
        words = Words(self.RELEVANCE, apply=apply)
        wavs = noise(1, 11200) * 1e-3
        explanation = words.explain(wavs)
        paths = explanation.save(tmp_path)
        spectrogram = explanation.spectrogram
        h = decompose(spectrogram.log_magnitude, words.matrix)[0]  # [K, T]
        for k in self.RANKED:
            wav, rate = soundfile.read(paths[f"component_{k}"], dtype="float32")
            assert (rate, wav.shape) == (RATE, (11200,))
            share = (torch.outer(words.matrix[:, k], h[k]) / (words.matrix @ h)).T[None]
            wanted = words.frontend.resynthesise(spectrogram, apply_mask(spectrogram.magnitude, share, apply))
            assert snr_db(wanted[0], torch.tensor(wav)) > 60

    @pytest.mark.usefixtures("quick_figures")
    def test_linear_masks_make_sounds_that_add_up_to_the_explanation(self, tmp_path):
        explanation = Words(self.RELEVANCE, apply="linear").explain(noise(1, 16000))
        paths = explanation.save(tmp_path)
        parts = [torch.tensor(soundfile.read(paths[f"component_{k}"], dtype="float32")[0]) for k in self.RANKED]
        whole = torch.tensor(soundfile.read(paths["explanation"], dtype="float32")[0])
        assert snr_db(whole, sum(parts)) > 60
        assert all(snr_db(whole, part) < 20 for part in parts)  # and each is only a part

    def test_figures_are_of_the_kind_and_drawn_as_asked_for(self, tmp_path, quick_figures):
        explanation = Words(self.RELEVANCE).explain(noise(1, 4000))
        for wrong in ({"format": "gif"}, {"scale": "bark"}, {"column": "yes"}):
            with pytest.raises(UserError, match=f"{next(iter(wrong))} is"):
                explanation.save(tmp_path, **wrong)
        assert list(tmp_path.iterdir()) == []
        paths = explanation.save(tmp_path, format="svg", scale="mel", column=True)
        assert [paths[name].name for name in ("figure", "components")] == ["figure.svg", "components.svg"]
        assert all(paths[name].read_bytes().startswith(b"<?xml") for name in ("figure", "components"))
        (drawn,) = quick_figures["plot_explanation"]
        assert (drawn["settings"].scale, drawn["settings"].column) == ("mel", True)
        explanation.figure(scale="linear")
        assert quick_figures["plot_explanation"][-1]["settings"].scale == "linear"

    def test_only_so_many_become_sounds_but_all_are_listed(self, tmp_path, quick_figures):
        explanation = Words(self.RELEVANCE).explain(noise(1, 4000))
        paths = explanation.save(tmp_path, max_components=2)
        saved = json.loads(paths["description"].read_text())["components"]
        assert [entry["component"] for entry in saved] == list(self.RANKED)
        assert [entry["sound"] is not None for entry in saved] == [True, True, False, False]
        assert len(list((tmp_path / "components").iterdir())) == 2
        (drawn,) = quick_figures["plot_components"]
        assert (drawn["ranked"], drawn["limit"]) == (list(self.RANKED), 2)
        components = explanation.components
        for name, values in (("relevance", components.relevance[0]), ("activations", components.activations[0])):
            assert torch.equal(torch.tensor(drawn[name]), values), name
        assert torch.equal(torch.tensor(drawn["matrix"]), components.matrix)
        many = Words([0.5] * 12).explain(noise(1, 4000))
        many.save(tmp_path / "many")
        assert len(list((tmp_path / "many" / "components").iterdir())) == 12
        assert list(many.component_sounds()) == list(range(12))

    @pytest.mark.usefixtures("quick_figures")
    def test_saved_again_nothing_is_left_of_the_earlier_ones(self, tmp_path):
        words = Words(self.RELEVANCE)
        words.explain(noise(1, 4000)).save(tmp_path)
        words.relevance = torch.tensor((0.0, 0.5, 0.0, 0.0, 0.0, 0.0))
        words.explain(noise(1, 4000)).save(tmp_path)
        assert [path.name for path in (tmp_path / "components").iterdir()] == ["01_component_1.wav"]
        (tmp_path / "components" / "mine.txt").write_text("stays")
        with pytest.raises(UserError, match=r"holds 'components/mine\.txt'"):
            words.explain(noise(1, 4000)).save(tmp_path)
        assert (tmp_path / "components" / "mine.txt").read_text() == "stays"

    @pytest.mark.slow
    def test_none_selected(self, tmp_path):
        explanation = Words((0.1, 0.0)).explain(noise(1, 4000))
        paths = explanation.save(tmp_path)
        assert json.loads(paths["description"].read_text())["components"] == []
        assert explanation.component_sounds() == {}
        assert paths["components"].is_file()
        assert not (tmp_path / "components").exists()

    def test_silence(self, tmp_path):
        explanation = Words(self.RELEVANCE).explain(torch.zeros(1, 4000))
        assert all(not wav.any() for wav in explanation.component_sounds().values())
        explanation.save(tmp_path)

    def test_methods_without_components_save_none(self, interpreter, tmp_path):
        explanation = interpreter.explain(noise(1, 4000))
        assert explanation.component_sounds() == {}
        paths = explanation.save(tmp_path)
        assert "components" not in paths
        assert "components" not in json.loads(paths["description"].read_text())


def test_it_is_said_in_words_what_is_heard_and_where(interpreter):
    explanation = interpreter.explain(noise(2, 8000), torch.tensor([1.0, 0.5]), target="dog")
    for index in range(2):
        clip = explanation[index]
        sentences = clip.describe()["sentences"]
        assert sentences == explanation.sentences(index) == explanation.describe(index)["sentences"]
        assert (
            sentences[0]
            == f"Heard as {clip.labels[int(clip.output.predicted)]} ({float(clip.probabilities.max()):.2f})."
        )
        assert "The explained class is dog" in " ".join(sentences) or sentences[0].startswith("Heard as dog")
        alone = interpreter.classifier.classify_pair(clip.pair, "waveform").inside.softmax(1)[0, 1]
        assert f"dog ({float(alone):.2f})" in " ".join(sentences)
        assert sentences[-2].startswith("Most of the explanation lies at ")
        assert sentences[-1] == f"{event_sentence(clip.events()[0])}."
    assert interpreter.explain(torch.zeros(1, 4000)).sentences()[1:] == [
        "The sound is silent: there is nothing to explain."
    ]


def test_events_are_saved_and_drawn(interpreter, tmp_path, quick_figures):
    explanation = interpreter.explain(noise(2, 8000), torch.tensor([1.0, 0.5]), target="dog")
    paths = explanation.save(tmp_path)
    for index, drawn in enumerate(quick_figures["plot_explanation"]):
        events = explanation.events(index)
        assert events
        assert drawn["events"] == events
        described = json.loads(paths[f"clip-{index}/description"].read_text("utf-8"))
        assert described["events"] == [event.to_dict() for event in events]
        assert EventSettings(**described["event_settings"]) == EventSettings()
        listed = json.loads(paths[f"clip-{index}/events"].read_text("utf-8"))["events"]
        assert listed == [{"sound": "input.wav", **event.to_dict()} for event in events]
        track = read_track(paths[f"clip-{index}/selections"].read_text("utf-8"), tmp_path)
        assert [float(row["effect"]) for _, row in track.rows] == pytest.approx([e.effect for e in events], abs=1e-6)
        track = read_track(paths[f"clip-{index}/label_track"].read_text("utf-8"), tmp_path)
        assert [row.label for row in track.rows] == ["dog"] * len(events)


# ---- Beside masks that explain nothing ----


def test_probabilities_of_all_classes_and_of_masks_of_the_same_area(interpreter, tmp_path, quick_figures):
    """The description has them for the input, the explanation alone and the residual; and the two baselines' p."""
    explanation = interpreter.explain(noise(2, 8000), torch.tensor([1.0, 0.5]), target="dog")
    for index in range(2):
        clip = explanation[index]
        saved = json.loads(explanation.save(tmp_path / str(index), index)["description"].read_text("utf-8"))
        assert list(saved["probabilities"]) == clip.labels
        logits = {"input": clip.output.logits, "explanation": clip.heard.inside, "residual": clip.heard.outside}
        for part, values in logits.items():
            assert [by_part[part] for by_part in saved["probabilities"].values()] == values.softmax(1)[0].tolist()
        area = saved["kept_area"]
        for kind, mask in (("energy", EnergyMask), ("random", RandomMask)):
            again = mask(interpreter.classifier, area=area).explain(clip.sound, target="dog")
            alone, without = (x.softmax(1)[0, 1].item() for x in (again.heard.inside, again.heard.outside))
            assert saved["baselines"][kind] == pytest.approx({"alone": alone, "without": without}, abs=1e-5)
            assert f"{alone:.2f} and leave {without:.2f}" in " ".join(saved["sentences"])


def test_every_metric_is_measured_for_the_explanation_and_for_both_baselines(interpreter):
    clip = interpreter.explain(noise(1, 4000))
    measured = clip.measure()
    assert list(measured) == ["explanation", "energy", "random"]
    areas = {places["waveform"]["kept_area"] for places in measured.values()}
    assert max(areas) - min(areas) < 1e-3
    # The method is the energy mask itself.
    for place in ("spectrogram", "waveform"):
        assert measured["explanation"][place] == pytest.approx(measured["energy"][place], abs=1e-5)
        assert measured["random"][place].keys() == measured["energy"][place].keys()
    assert measured["random"]["waveform"]["q"] != measured["energy"]["waveform"]["q"]


# ---- Saved ----


def test_the_mask_is_saved_as_numbers_with_its_axes(interpreter, tmp_path, quick_figures):
    clip = interpreter.explain(noise(1, 4000))
    with np.load(clip.save(tmp_path)["mask"]) as saved:
        assert saved["mask"].dtype == np.float32
        assert np.array_equal(saved["mask"], clip.mask[0].numpy())
        assert saved["times"] == pytest.approx(np.arange(22) * 186 / RATE)
        assert saved["frequencies"] == pytest.approx(np.arange(513) * RATE / 1024)


@pytest.mark.slow
def test_nothing_global_of_matplotlib_changes(interpreter, tmp_path):
    """Not the backend, not the settings, not the open figures: a notebook's own plots still show."""
    from matplotlib import pyplot

    before = pyplot.get_backend()
    try:
        pyplot.switch_backend("svg")
        with matplotlib.rc_context({"axes.grid": True, "font.family": ["serif"], "text.parse_math": True}):
            shown = pyplot.figure()
            settings = dict.copy(matplotlib.rcParams)
            Words(TestComponents.RELEVANCE).explain(noise(1, 2000)).save(tmp_path)
            assert dict.copy(matplotlib.rcParams) == settings
            assert pyplot.get_backend() == "svg"
            assert pyplot.get_fignums() == [shown.number]
            assert pyplot.gcf() is shown
    finally:
        pyplot.close("all")
        pyplot.switch_backend(before)


def test_it_is_shown_in_at_most_three_lines(interpreter):
    for wavs in (noise(1, 4000), noise(5, 4000)):
        lines = repr(interpreter.explain(wavs)).splitlines()
        assert len(lines) <= 3
        assert max(map(len, lines)) < 200
        assert lines[0].startswith(f"Explanation of {len(wavs)} clip")
        assert "(20% kept)" in lines[1]


@pytest.fixture
def sounds(tmp_path):
    """Three sounds: two of one name in different folders, and one whose name is hidden."""
    paths = [tmp_path / "sounds" / name for name in ("a/dog.wav", "b/Dog.flac.wav", "a/Dog.wav", "..wav")]
    for wav, path in zip(noise(4, 3200), paths, strict=True):
        write_wav(path, wav, RATE)
    return paths


def test_of_several_clips_each_is_saved_in_a_folder_of_its_own(interpreter, sounds, tmp_path, quick_figures):
    explanation = interpreter.explain([*sounds, noise(1, 1600)[0]])
    assert len(explanation) == 5
    paths = explanation.save(tmp_path / "out")
    names = ["dog", "Dog.flac", "Dog-2", "clip-3", "clip-4"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    for index, name in enumerate(names):
        saved = json.loads(paths[f"{name}/description"].read_text("utf-8"))
        assert saved["source"] == (str(sounds[index]) if index < 4 else None)
        wav, _ = soundfile.read(tmp_path / "out" / name / "input.wav", dtype="float32")
        assert torch.equal(torch.tensor(wav), explanation[index].sound[0])
    # Again, and one clip alone: flat.
    explanation.save(tmp_path / "out")
    explanation.save(tmp_path / "one", index=4)
    interpreter.explain([sounds[0]]).save(tmp_path / "two")
    assert (tmp_path / "one" / "input.wav").is_file()
    assert (tmp_path / "two" / "input.wav").is_file()
    with pytest.raises(UserError, match="holds the explanation of one sound, these are 5"):
        explanation.save(tmp_path / "two")
    for one, settings in ((interpreter.explain([sounds[0]]), {}), (explanation, {"index": 0})):
        with pytest.raises(UserError, match="holds folders of explanations, this is one"):
            one.save(tmp_path / "out", **settings)


def test_every_class_that_is_heard_is_explained_for_itself(sounds, tmp_path, quick_figures):
    classifier = CompactClassifier(["a/b", "dog", "rain"], n_mels=16, channels=(4, 4, 8, 8), task="multi")
    interpreter = EnergyMask(classifier.freeze(), area=0.2)
    probabilities = interpreter.explain(sounds[:2]).probabilities.double()
    classifier.use_thresholds([*probabilities.mean(0)[:2].tolist(), float(probabilities[:, 2].max()) + 1e-3])
    explanation = interpreter.explain(sounds[:2], every_label=True)
    expected = [
        (position, target)
        for position, active in enumerate(classifier.active(interpreter.explain(sounds[:2]).output.logits).tolist())
        for target, is_active in enumerate(active)
        if is_active
    ]
    assert len(expected) >= 3
    assert explanation.target.tolist() == [target for _, target in expected]
    for k, (position, target) in enumerate(expected):
        alone = interpreter.explain(sounds[position], target=target)
        assert torch.equal(alone.mask, explanation[k].mask)
        assert explanation[k].describe()["explained"] == classifier.labels[target]
        assert explanation[k].origins[0].path == sounds[position]
    explanation.save(tmp_path / "out")
    stems = [sounds[position].stem for position, _ in expected]
    names = [
        f"{stem}-{safe_name(classifier.labels[target])}" for stem, (_, target) in zip(stems, expected, strict=True)
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    with pytest.raises(UserError, match="target is 'dog' and every_label is True"):
        interpreter.explain(sounds[0], target="dog", every_label=True)
    with pytest.raises(UserError, match="every_label is True and top_k is 2: choose classes in one of these ways"):
        interpreter.explain(sounds[0], every_label=True, top_k=2)


def test_the_most_probable_classes_are_explained_in_their_order():
    """Each as it is alone; several clips of one sound follow each other."""
    interpreter = EnergyMask(tiny.listening_classifier(["cat", "dog", "rain"]))
    sounds = noise(2, 4000)
    explanation = interpreter.explain(sounds, top_k=2)
    assert len(explanation) == 4
    chosen = explanation.probabilities.gather(1, explanation.target[:, None])[:, 0].reshape(2, 2)
    torch.testing.assert_close(chosen, explanation.probabilities[::2].sort(descending=True).values[:, :2])
    alone = interpreter.explain(sounds[1], target=int(explanation.target[3]))
    torch.testing.assert_close(explanation[3].mask, alone.mask)
    assert len(set(explanation.clip_names())) == 4
    for wrong in (0, 4, True, "2"):
        with pytest.raises(UserError, match=r"top_k is .*, expected a number from 1 to 3"):
            interpreter.explain(sounds, top_k=wrong)


# ---- What is never replaced ----


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_explained_sound_is_never_replaced(interpreter, tmp_path, quick_figures):
    """Not even one of an earlier result: refused before anything is written."""
    write_wav(tmp_path / "sound.wav", noise(1, 3200)[0], RATE)
    interpreter.explain(tmp_path / "sound.wav").save(tmp_path / "out")
    before = snapshot(tmp_path)
    for sound, folder in (("out/input.wav", "out"), ("sound.wav", ".")):
        with pytest.raises(UserError, match="would be replaced: name another folder"):
            interpreter.explain(tmp_path / sound).save(tmp_path / folder)
    assert snapshot(tmp_path) == before


def test_a_result_is_replaced_by_one_of_the_same_sound_and_model_alone(interpreter, sounds, tmp_path, quick_figures):
    folder = tmp_path / "out"
    interpreter.explain(sounds[0]).save(folder)
    interpreter.explain(sounds[0], target="cat").save(folder)
    interpreter.explain(sounds[0], target="rain").save(folder)
    assert json.loads((folder / "explanation.json").read_text("utf-8"))["explained"] == "rain"
    # A copy of the sound is that sound, too, and so are its samples.
    samples, _ = soundfile.read(sounds[0], dtype="float32")
    interpreter.explain(samples).save(folder)
    before = snapshot(folder)
    torch.manual_seed(1)
    other = CompactClassifier(["cat", "dog", "rain"], n_mels=16, channels=(4, 4, 8, 8))
    for interpreted, words in (
        (interpreter.explain(sounds[1]), "holds the explanation of another sound, not of Dog.flac.wav: name another"),
        (EnergyMask(other, area=0.2).explain(samples), "by another model or method: name another folder"),
        (RandomMask(interpreter.classifier).explain(samples), "by another model or method: name another folder"),
    ):
        with pytest.raises(UserError, match=words):
            interpreted.save(folder)
    assert snapshot(folder) == before


def test_methods_of_one_class_do_not_replace_each_others_results(interpreter, tmp_path, quick_figures):
    first, other = (Gradients(interpreter.classifier, attribution=name) for name in ("saliency", "input_x_gradient"))
    samples = noise(1, 1600)
    first.explain(samples).save(tmp_path / "out")
    with pytest.raises(UserError, match="by another model or method"):
        other.explain(samples).save(tmp_path / "out")
    first.explain(samples).save(tmp_path / "out")


@pytest.mark.parametrize("name", ["mine.txt", "explanation.json", "input.wav", "components/x.wav"])
def test_a_folder_of_the_user_is_never_replaced(name, interpreter, tmp_path, quick_figures):
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match="out holds "):
        interpreter.explain(noise(1, 1600)).save(tmp_path / "out")
    assert snapshot(tmp_path) == before


def test_another_result_of_this_program_is_no_explanation(interpreter, tmp_path):
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "weights.pt").write_bytes(b"x")
    with pytest.raises(UserError, match="out holds no explanation that could be replaced"):
        interpreter.explain(noise(1, 1600)).save(tmp_path / "out")


# ---- Far longer than what was learned ----


@pytest.mark.parametrize(("seconds", "noted"), [(0.05, True), (0.4, False), (None, False)])
def test_a_sound_far_longer_than_the_training_clips_is_remarked_on(seconds, noted, interpreter):
    interpreter.classifier.keep_description({"training": {"clip_seconds": seconds}})
    notes = interpreter.explain(noise(2, 8000), torch.tensor([1.0, 0.1])).describe(0)["notes"]
    assert (
        any("lasts 0.5 s, but the classifier was trained on clips of at most 0.05 s" in note for note in notes) is noted
    )
    assert interpreter.explain(noise(2, 8000), torch.tensor([1.0, 0.1])).describe(1)["notes"] == []
