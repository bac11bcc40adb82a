"""Opening a classifier by its source: a saved folder, or a model of another library."""

import csv
import inspect
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from interpretability.classifiers.base import Classifier, default_task
from interpretability.classifiers.black_box import LAYOUTS, FunctionClassifier, ScriptClassifier
from interpretability.classifiers.card import existing_file, find_card, read_card
from interpretability.classifiers.features import FeatureModule
from interpretability.classifiers.folder import load_classifier
from interpretability.classifiers.frames import POOLS
from interpretability.classifiers.graph import GraphClassifier, OnnxClassifier, TfliteClassifier
from interpretability.classifiers.graph_file import guessed_ports
from interpretability.classifiers.huggingface import HuggingFaceClassifier
from interpretability.classifiers.importing import build_module
from interpretability.classifiers.layers import SCALES
from interpretability.classifiers.module import ASSUMED_RATE, ModuleClassifier, frontend_of
from interpretability.classifiers.outputs import EMBEDDING, KINDS
from interpretability.classifiers.speechbrain import SpeechBrainClassifier
from interpretability.errors import MissingError, UserError, listed, shown
from interpretability.files import expanded
from interpretability.frontend import FILTERS, LEVEL_RULES, FrontendSettings
from interpretability.probabilities import TASKS
from interpretability.reading import parse_json, read_text
from interpretability.settings import Settings, refuse_unknown, setting
from interpretability.weights import load_weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceSettings(Settings):
    """What can be given in place of what a source itself says; each kind of source takes some of these."""

    labels: tuple[str, ...] | None = setting(None, "class names, in the order of the logits")
    task: str | None = setting(None, "one label per clip, or several", choices=(None, *TASKS))
    layers: tuple[str, ...] | None = setting(None, "names of the layers whose outputs are feature maps")
    level: str | None = setting(None, "the front end's level rule", choices=(None, *LEVEL_RULES))
    resampling: str | None = setting(None, "filter for sounds of another rate", choices=(None, *FILTERS))
    scale: str | None = setting(None, "scale of the frequency axis of feature maps", choices=(None, *SCALES))
    sample_rate: float | None = setting(None, "sampling rate of the model", unit="Hz", above=0, most=10_000_000)
    arguments: dict | None = setting(None, "what the class of the model is called with")
    weights: str | Path | None = setting(None, "file with the state_dict of the model; none: it is untrained")
    logit_scale: float | None = setting(None, "factor of the model's outputs", above=0)
    output: str | None = setting(None, "what the model's outputs are", choices=(None, *KINDS))
    pool: str | None = setting(None, "how outputs for each frame become one", choices=(None, *POOLS))
    attention: str | int | None = setting(None, "name or number of the output that weights frames or windows")
    thresholds: tuple[float, ...] | None = setting(
        None, "probability from which on a class counts as heard, one for each", above=0, below=1
    )
    input_length: int | None = setting(None, "length of every sound that the model takes", unit="samples", least=1)
    one_by_one: bool | None = setting(None, "run sounds one by one")
    reset_state: bool | None = setting(None, "reset the model's hidden state before each run")
    input_layout: str | None = setting(None, "shape of the sound that the model takes", choices=(None, *LAYOUTS))
    inputs: dict | None = setting(None, "further inputs of the model by their names")
    states: dict | None = setting(None, "input of onnx or tflite -> the output that it gets at the next window")
    entry: str | int | None = setting(None, "name or number of the output that holds the classes")
    hop_length: int | None = setting(None, "step between windows of input_length", unit="samples", least=1)
    windows: str | None = setting(None, "how answers for windows become one", choices=(None, *POOLS))
    features: tuple[dict, ...] | None = setting(None, "steps that make what the model takes of a waveform")
    card: str | Path | None = setting(
        None, "file with these settings; none: model.yaml beside the file of the model, if it is there"
    )


def open_classifier(source: str | Path, trust_remote_code: bool = False, **settings) -> Classifier:
    """Open the classifier that a source names.

    Parameters
    ----------
    source : str or path
        ``hf:FOLDER`` (or a name on the hub): an audio classifier of Transformers.
        ``speechbrain:FOLDER``: a folder for SpeechBrain's ``EncoderClassifier`` or ``AudioClassifier``.
        ``torch:package.module:Class``: a module from waveforms [B, N] to logits [B, C].
        ``python:package.module:function``: a function of NumPy from such waveforms to probabilities or logits.
        ``onnx:FILE``, ``tflite:FILE``, ``jit:FILE``: a model in a file of ONNX, TensorFlow Lite or TorchScript. What
        is missing in these, and in functions, can stand in a card (:mod:`~interpretability.classifiers.card`).
        Otherwise a saved classifier's folder. ``~`` stands for the home folder.
    trust_remote_code : bool
        Of a saved folder: whether its model may be code of other than installed packages, which is then run. What
        ``torch:``, ``python:`` and ``jit:`` name is the caller's own word, and the code of ``hf:`` and
        ``speechbrain:`` folders is never run.
    **settings
        Settings of this kind of source, in place of what the source itself says; None counts as not given. ``labels``
        may also be what :func:`read_labels` reads; with ``output="embedding"`` it is the number of its values.
        See :meth:`HuggingFaceClassifier.from_pretrained`, :meth:`SpeechBrainClassifier.from_folder`,
        :func:`open_torch`, :meth:`.BlackBoxClassifier.from_place`; a saved folder takes none.

    Returns
    -------
    Classifier
        Frozen.

    Raises
    ------
    MissingError, UserError
        If it cannot be opened, or does not take a setting.
    """
    prefix, colon, place = str(source).partition(":")
    settings = {name: value for name, value in settings.items() if value is not None}
    opener = OPENERS.get(prefix) if colon else None
    known = taken_settings(prefix) if opener is not None else []
    foreign = [name for name in settings if name not in known]
    if foreign:
        expected = f"expected among {', '.join(known)}"
        advice = expected if known else "a saved classifier's folder has all settings: leave it out"
        raise UserError(f"{source} takes no {', '.join(foreign)}, {advice}")
    if opener is None:
        if colon and not expanded(source).exists() and "/" not in prefix:
            kinds = ", ".join(f"{name}:" for name in OPENERS)
            raise UserError(f"{source}: unknown kind of source {prefix!r}, expected {kinds} or a folder")
        return load_classifier(source, trust_remote_code=trust_remote_code)
    if not place:
        raise UserError(f"{source} names no model: write {prefix}:{PLACES.get(prefix, 'FOLDER')}")
    place, settings = _read(str(source), settings)
    return opener(place, **settings).freeze()


def load_unasked(source: str, **settings) -> tuple[nn.Module, dict]:
    """Load a model without asking it anything, for :mod:`interpretability.commands.probe`.

    Parameters
    ----------
    source, **settings
        As of :func:`open_classifier`; ``labels`` may be left out.

    Returns
    -------
    module : torch.nn.Module
        From sounds to any output.
    settings : dict
        Those that are known: of its file, of its card, and those given; for files with inputs and outputs of their own
        also what these look like (:func:`.guessed_ports`).

    Raises
    ------
    MissingError, UserError
        If it cannot be loaded, or is of another kind.
    """
    prefix, _, place = str(source).partition(":")
    if prefix not in (*BLACK_BOXES, "torch") or not place:
        kinds = ", ".join(f"{name}:{PLACES[name]}" for name in (*BLACK_BOXES, "torch"))
        raise UserError(f"{source} has no card to find out: expected {kinds}")
    settings = {name: value for name, value in settings.items() if value is not None}
    refuse_unknown(source, settings, taken_settings(prefix))
    place, settings = _read(str(source), settings)
    features, rate = settings.get("features"), round(settings.get("sample_rate") or ASSUMED_RATE)
    if prefix == "torch":
        module = build_module(place, settings.get("arguments") or {})
        if str(settings.get("weights") or UNTRAINED) != UNTRAINED:
            load_weights(module, expanded(settings["weights"]))
        return FeatureModule(module, features, rate, title=source) if features else module, settings
    kind = BLACK_BOXES[prefix]
    if issubclass(kind, GraphClassifier) and not {"inputs", "states", "features"} & set(settings):
        existing_file(place, prefix)
        inputs, states = guessed_ports(*kind.ports(place), rate)
        settings |= {name: value for name, value in (("inputs", inputs), ("states", states)) if value}
    module, known = kind.load(place, settings.get("inputs") or {}, settings.get("states") or {}, bool(features))
    if features:
        folder = Path(place).parent if issubclass(kind, GraphClassifier) else None
        module = FeatureModule(module, features, rate, folder, source)
    return module, {name: value for name, value in known.items() if value} | settings


def _read(source: str, settings: dict) -> tuple[str, dict]:
    """Return what a source names behind its prefix, and checked settings: with those of a card, and labels as names."""
    prefix, _, place = source.partition(":")
    place = place if prefix in ("torch", "python") else str(expanded(place))
    if prefix in (*BLACK_BOXES, "torch"):
        # What a class is called with is the caller's word: of torch: a card counts that is named.
        settings = _with_card(prefix, "" if prefix == "torch" else place, settings)
    labels = settings.get("labels")
    if settings.get("output") == EMBEDDING:
        if isinstance(labels, bool) or not isinstance(labels, int) or labels < 1:
            raise UserError(f"labels is {shown(labels)}, expected with output=embedding the number of its values")
        settings = settings | {"labels": [f"value {number}" for number in range(labels)]}
    elif isinstance(labels, (str, Path)):
        settings["labels"] = read_labels(settings["labels"])
    SourceSettings.make(source, settings)
    return place, settings


def taken_settings(prefix: str) -> list[str]:
    """Return the settings that a kind of source takes, by its prefix: a key of :data:`OPENERS`."""
    taken = list(inspect.signature(OPENERS[prefix]).parameters)[1:]  # without the place
    return [*taken, "card"] if prefix in (*BLACK_BOXES, "torch") else taken


def _with_card(prefix: str, place: str, settings: Mapping) -> dict:
    """Return the settings, and those of the model's card that are not among them."""
    path = find_card(place, settings.get("card"))
    card = {} if path is None else read_card(path)
    refuse_unknown(str(path), card, [name for name in taken_settings(prefix) if name != "card"])
    if path is not None:
        # A file of names, and the number of values of an embedding, are read later.
        later = isinstance(card.get("labels"), int if card.get("output") == EMBEDDING else str)
        SourceSettings.make(str(path), {**card, "labels": None} if later else card)
    return {name: value for name, value in (card | settings).items() if name != "card"}


def read_labels(given: str | Path) -> list[str]:
    """Return the class names that are given as a list or in a file, in the order of the logits.

    Parameters
    ----------
    given : str or path
        ``@FILE`` or a path: a text file with one name per line, or with a JSON list of names; a table that ends in
        ``.csv``, of whose columns the first one of :data:`NAME_COLUMNS` counts, in the order of ``index`` if there is
        one. ``["a", "b"]``: the list.

    Raises
    ------
    MissingError, UserError
        If there is no such file; if it, or the text, holds no names.
    """
    text, where = str(given), "labels"
    if isinstance(given, Path) or text.startswith("@"):
        path = expanded(text.removeprefix("@"))
        where = str(path)
        if not path.is_file():
            raise MissingError(f"no class names at {path}: give a text file with one name per line")
        text = read_text(path).removeprefix("\ufeff")
        if path.suffix.lower() == ".csv" and "," in text.partition("\n")[0] and text.lstrip()[:1] != "[":
            return _names_of_table(text, path)
        if text.lstrip()[:1] not in ("[", "{"):
            return [line.strip() for line in text.splitlines() if line.strip()]
    advice = "give @FILE (one class name per line) or a JSON list of names"
    names = parse_json(text, where, advice=advice)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{where}: got {shown(names)}, expected a list of texts; {advice}")
    return names


#: Columns that hold the names of classes in a table.
NAME_COLUMNS = ("display_name", "label", "name", "class")


def _names_of_table(text: str, path: Path) -> list[str]:
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    columns = list(rows[0]) if rows else []
    column = next((name for name in NAME_COLUMNS if name in columns), None)
    if column is None:
        raise UserError(f"{path}: its columns are {listed(columns) or 'none'}, expected {' or '.join(NAME_COLUMNS)}")
    without = next((number for number, row in enumerate(rows, 2) if not (row[column] or "").strip()), None)
    if without is not None:
        raise UserError(f"{path}: row {without} has no {column}: give each class a name")
    if "index" in columns and all((row["index"] or "").strip().isdecimal() for row in rows):
        rows.sort(key=lambda row: int(row["index"]))
    return [row[column].strip() for row in rows]


def open_torch(
    place: str,
    labels: Sequence[str] | None = None,
    sample_rate: float | None = None,
    task: str | None = None,
    layers: Sequence[str] | None = None,
    level: str = "none",
    scale: str = "mel",
    arguments: Mapping | None = None,
    weights: str | Path | None = None,
    output: str | None = None,
    pool: str = "mean",
    attention: str | int | None = None,
    thresholds: Sequence[float] | None = None,
    input_length: int | None = None,
    one_by_one: bool | None = None,
    reset_state: bool | None = None,
    features: Sequence[Mapping] | None = None,
    resampling: str = FrontendSettings.resampling,
) -> ModuleClassifier:
    """Build a module of PyTorch and load its weights.

    Parameters
    ----------
    place : str
        ``package.module:Class``.
    labels : sequence of str
        Class names, in the order of the logits.
    sample_rate : float, optional
        In Hz; a warning says which one is assumed if it is not given.
    task : {"single", "multi"}, optional
        By default one label per clip, or ``multi`` for a detector of one class.
    layers, scale, output, pool, attention, thresholds, input_length, one_by_one, reset_state, features
        As in :class:`~interpretability.classifiers.module.ModuleSettings`.
    level : {"none", "peak"}
        The front end's level rule.
    resampling : {"accurate", "published"}
        The filter for sounds of another rate.
    arguments : dict, optional
        What the class is called with.
    weights : path, optional
        A file with the module's ``state_dict``, of torch.save or safetensors, or a checkpoint that holds it (see
        :func:`~interpretability.weights.load_weights`); no code in it is run. ``"none"``: the weights that the class
        makes are meant, as in sanity checks. If it is not given and the class draws random numbers, as untrained
        networks do, a warning says so. Either way it is among the classifier's notes.
    """
    if labels is None:
        raise UserError(f"torch:{place} does not say what its classes are: give labels, in the order of the logits")
    frontend = frontend_of(place, sample_rate, level, resampling)
    classifier = ModuleClassifier(
        labels,
        frontend,
        task or default_task(labels),
        module=place,
        arguments=arguments or {},
        layers=layers,
        weights=None if str(weights) == UNTRAINED else weights,
        scale=scale,
        output=output,
        pool=pool,
        attention=attention,
        thresholds=thresholds,
        input_length=input_length,
        one_by_one=one_by_one,
        reset_state=reset_state,
        features=features,
    )
    if classifier.built_by_chance:
        classifier.add_notes(OWN_WEIGHTS)
        if weights is None:
            logger.warning(
                "torch:%s: no weights given: %s. Pass weights=FILE, or weights=%s if that is meant",
                *(place, OWN_WEIGHTS, UNTRAINED),
            )
    return classifier


#: In place of a file of weights.
UNTRAINED = "none"
OWN_WEIGHTS = "the model has the weights that its class makes: random ones, unless it loads others itself"

#: Kinds of models that are given as they run, and have cards.
BLACK_BOXES = {kind.NAME: kind for kind in (FunctionClassifier, OnnxClassifier, TfliteClassifier, ScriptClassifier)}
#: Prefix of a source -> what opens the rest of it.
OPENERS = {
    "hf": HuggingFaceClassifier.from_pretrained,
    "speechbrain": SpeechBrainClassifier.from_folder,
    "torch": open_torch,
    **{name: kind.from_place for name, kind in BLACK_BOXES.items()},
}
#: What follows the prefix, where it is no folder.
PLACES = {
    "torch": "package.module:Class",
    "python": "package.module:function",
    "onnx": "FILE",
    "tflite": "FILE",
    "jit": "FILE",
}
