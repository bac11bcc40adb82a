"""One call from a model and a sound to an explanation: ``from interpretability import explain``, and the command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from interpretability.classifiers import Classifier, open_classifier
from interpretability.classifiers.base import Target
from interpretability.classifiers.check import SHORT, ModelCheck, check_classifier
from interpretability.data.inputs import Sound, Sounds, read_sounds
from interpretability.dictionary import Dictionary, DictionarySettings, collect_frames, learn_dictionary
from interpretability.errors import UserError, first_line
from interpretability.explanation import Explanation
from interpretability.frontend import sample_counts
from interpretability.methods import METHODS, Interpreter, is_interpreter_folder, load_interpreter
from interpretability.methods.attributions import ATTRIBUTIONS, GradientsSettings
from interpretability.methods.nmf import NMF
from interpretability.methods.refined import refined
from interpretability.methods.rise import RISE

#: Chosen on validation data by what is heard of it (docs/results.md); its settings are chosen with it.
DEFAULT_METHOD = GradientsSettings.attribution
#: The same of classifiers that let no gradient through.
DEFAULT_BY_ANSWERS = RISE.NAME
#: Components of a dictionary that is learned from the sound itself.
OWN_COMPONENTS = 16


def explain(
    model: Interpreter | Classifier | str | Path,
    sounds: Sound,
    sample_rate: int | None = None,
    method: str | None = None,
    target: Target | None = None,
    settings: Mapping[str, Any] | None = None,
    channel: str = "mean",
    trust_remote_code: bool = False,
    every_label: bool = False,
    top_k: int = 1,
    refine_steps: int = 0,
) -> Explanation:
    """Explain sounds by a trained method, or a classifier by a method that needs no training.

    Parameters
    ----------
    model : Interpreter, Classifier, str or Path
        A trained method, or the folder of a run that trained one; a classifier, or what
        :func:`~interpretability.classifiers.open_classifier` opens.
    sounds : path, array [N] or [B, N], tensor [N] or [B, N], or a list of paths and of samples [N]
        One or several sounds: see :func:`~interpretability.data.inputs.read_sounds`.
    sample_rate : int, optional
        Of samples, in Hz; they are resampled where the model has another. That of the model if not given.
    method : str, optional
        Of a classifier: a method that needs no training. :func:`default_method` chooses if not given.
    target : int, str, or one of these for each sound, optional
        Class to explain; the predicted one if not given. A number is an index, text a name. For all sounds alike also a
        set of classes, ``"a|b"``; a contrast, ``"a - b"``: what speaks for a and not for b; one of these in a range of
        time, ``"a@1.2-1.8"``, of a model with scores for frames; or the likeness to another sound, ``"like:FILE"``, by
        the model's embeddings (:mod:`interpretability.targets`).
    settings : mapping, optional
        Of that method.
    channel : {"mean", "left", "right"}
        What is heard of a file of several channels.
    trust_remote_code : bool
        Of a folder: see :func:`~interpretability.classifiers.folder.load_classifier`.
    every_label : bool
        Explain each class that is heard in a sound, which of a multi-label classifier may be several: see
        :meth:`.Interpreter.explain`.
    top_k : int
        Explain so many classes of a sound, the most probable ones, in that order.
    refine_steps : int
        Steps in which each mask of the method is refined, by the classifier's answers
        (:class:`~interpretability.methods.refined.Refined`).

    Returns
    -------
    Explanation
        Of all sounds; ``save(folder)`` writes it.

    Raises
    ------
    UserError
        For a model, a sound, a method, a setting or a class that there is not, or that cannot be used; one line.

    Examples
    --------
    ``explain("results/piq/1234", "sound.wav").save("results/mine")``
    ``explain(open_classifier("hf:FOLDER"), samples, sample_rate=44100, method="saliency")``
    """
    model = open_model(model, method, settings, trust_remote_code)
    chosen = {"target": target, "every_label": every_label, "top_k": top_k}
    if isinstance(model, Interpreter):
        return refined(model, refine_steps).explain(sounds, sample_rate=sample_rate, channel=channel, **chosen)
    taken = read_sounds(sounds, model.frontend.settings, sample_rate=sample_rate, channel=channel)
    return refined(interpreter_for(model, taken, method, settings), refine_steps).explain(taken, **chosen)


def open_model(
    model: Interpreter | Classifier | str | Path,
    method: str | None = None,
    settings: Mapping[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> Interpreter | Classifier:
    """Return the model that :func:`explain` is called with, loaded if need be; errors as there."""
    if isinstance(model, (str, Path)):
        # A folder of a classifier has none of an interpreter; other sources are no folders.
        load = load_interpreter if is_interpreter_folder(model) else open_classifier
        model = load(model, trust_remote_code)
    if isinstance(model, Interpreter):
        for name, given in (("method", method), ("settings", settings)):
            if given is not None:
                raise UserError(
                    f"{name} goes with a classifier, and this is the trained method {model.NAME!r} with settings of "
                    "its own: leave it out, or pass the classifier (its attribute classifier)"
                )
    elif not isinstance(model, Classifier):
        raise UserError(
            f"the model is of type {type(model).__name__}, expected an interpreter, a classifier, or what they are "
            "loaded from: a module of PyTorch becomes a classifier by WaveformClassifier"
        )
    return model


def interpreter_for(
    classifier: Classifier,
    sounds: Sounds,
    method: str | None = None,
    settings: Mapping[str, Any] | None = None,
    check: ModelCheck | None = None,
) -> Interpreter:
    """Return a method that needs no training, for these sounds.

    NMF without a dictionary learns one from the sounds themselves, of ``n_components`` (16 by default). ``check`` is
    what :func:`~interpretability.classifiers.check.check_classifier` says of the classifier, if that is already known.

    Raises
    ------
    UserError
        If the classifier cannot be run on the sounds; for an unknown method, or one that has to be trained; for a
        setting that does not fit.
    """
    check_classifier_runs(classifier, sounds)
    method, settings = method or default_method(check or check_classifier(classifier.base)), dict(settings or {})
    if not learns_from_sounds(method, settings):
        return untrained_method(classifier, method, settings)
    dictionary = own_dictionary(classifier.base, sounds, settings.pop("n_components", OWN_COMPONENTS))
    interpreter = untrained_method(classifier, method, settings | {"dictionary": dictionary})
    return interpreter.keep_description({"training": {"dictionary_training": dictionary.training}})


def learns_from_sounds(method: str, settings: Mapping[str, Any]) -> bool:
    """Return whether a method, with these settings, has to be made anew for each sound: NMF without a dictionary."""
    return method_class(method) is NMF and settings.get("dictionary") is None


def untrained_method(classifier: Classifier, method: str, settings: Mapping[str, Any]) -> Interpreter:
    """Return a method that needs no training and does not depend on the sounds; errors as of :func:`interpreter_for`.

    Its name may also be that of an attribution of the method ``gradients``.
    """
    kind = method_class(method)
    chosen = {"attribution": method} if method in ATTRIBUTIONS else {}
    return kind(classifier.base, **{**chosen, **settings}).eval().to(classifier.device).asked(classifier)


def default_method(check: ModelCheck) -> str:
    """Return the method that is used if none is named: one that works on the classifier."""
    return DEFAULT_METHOD if check.gradient else DEFAULT_BY_ANSWERS


def method_class(method: str) -> type[Interpreter]:
    """Return the class of a method that needs no training; a :class:`UserError` if there is none of that name."""
    kind = METHODS.get("gradients" if method in ATTRIBUTIONS else method)
    if kind is None:
        raise UserError(f"no method {method!r}, expected one of {', '.join(_untrained())} (--list_methods says more)")
    if kind.trainable:
        raise UserError(
            f"{method} has to be trained: {how_to_train(method)}; without training there are {', '.join(_untrained())}"
        )
    return kind


def how_to_train(method: str) -> str:
    """Return what to do for a method that has to be trained."""
    return (
        f"run train_{method}.py in a folder of recipes/ with this classifier as --classifier_folder (for a model of "
        "another library, what tools/import_classifier.py makes of it), then tools/interpret.py with its output folder"
    )


def own_dictionary(classifier: Classifier, sounds: Sounds, n_components: Any) -> Dictionary:
    """Learn a dictionary from the explained sounds: few components, at most as many as there are frames."""
    settings = DictionarySettings(n_components=n_components, max_frames=None)
    if not bool(sounds.wavs.any()):
        raise UserError(
            f"{_first(sounds)}: silence, from which no dictionary can be learned; give one by the setting dictionary, "
            "as in --settings dictionary=…"
        )
    counts = sample_counts(sounds.wavs, sounds.lengths).tolist()
    clips = [{"signal": wav[:count].cpu()} for wav, count in zip(sounds.wavs, counts, strict=True)]
    frames = collect_frames(clips, classifier.frontend, settings, progress=False)
    sources = [str(origin.path) for origin in sounds.origins if origin.path is not None]
    return learn_dictionary(
        frames,
        classifier.frontend.settings,
        classifier.labels,
        replace(settings, n_components=min(n_components, len(frames))),
        progress=False,
        training={"data": {"name": "the explained sounds themselves", "sources": sources}},
    )


def check_classifier_runs(classifier: Classifier, sounds: Sounds) -> None:
    """Run the classifier once: models of other libraries may refuse a sound, each in its own words."""
    try:
        classifier.analyse(sounds.wavs.to(classifier.device), sounds.lengths)
    except UserError:
        raise
    except Exception as error:  # whatever the model raises
        seconds = sample_counts(sounds.wavs, sounds.lengths).min().item() / classifier.frontend.settings.sample_rate
        advice = "give a longer one" if seconds < SHORT else f"it runs on {SHORT:g} s; give a sound of another length"
        length, reason = f"{seconds:.3g} s of sound", first_line(error)
        raise UserError(f"{_first(sounds)}: the classifier cannot be run on {length} ({reason}): {advice}") from error


def _first(sounds: Sounds) -> str:
    """Return what a message calls the sounds."""
    return str(sounds.origins[0].path or "the sound")


def _untrained() -> list[str]:
    """Return the names of the methods that need no training."""
    return [*ATTRIBUTIONS, *(name for name, kind in METHODS.items() if not kind.trainable)]
