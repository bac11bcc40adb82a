"""SpeechBrain's pretrained classifiers, explained as they are: folders for ``EncoderClassifier``, ``AudioClassifier``.

A folder holds ``hyperparams.yaml`` and the files that its ``pretrainer`` names. It is read in place: nothing is
fetched, copied or linked, and a path in the YAML that leads elsewhere (to the hub from which the folder was copied) is
looked up in the folder by its file name.

HyperPyYAML can run any code, and never sees the file: it is read by :mod:`interpretability.safe_yaml`. It may build
networks of SpeechBrain and PyTorch, of the size of the weights beside it, and what knows their class names. Every other
tag is refused before anything is built. Only the parts that the classifier needs are built and kept, and all their
weights have to be in files of the folder.

Logits are what the model's own ``classify_batch`` gives as ``out_prob``. Heads that end in a log-softmax give log
probabilities, and the softmax over them gives back just these. SpeechBrain's cosine head (ECAPA-TDNN's) gives cosines,
which are not probabilities, although the class calls them that; in training the softmax was taken over 30 times the
cosines in SpeechBrain's recipes (additive angular margin), and ``logit_scale`` does the same here. The predicted class
is the same either way.

SpeechBrain's ``StatisticsPooling`` (of x-vectors) adds noise between eps and 9 eps to the mean, eps being 1e-5, in
evaluation too, and scaled anew in every batch. Here the middle of that range is added instead, so that the same sound
gives the same answer.
"""

from __future__ import annotations

import inspect
import pydoc
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from speechbrain.dataio.encoder import CategoricalEncoder, CTCTextEncoder, TextEncoder
from speechbrain.dataio.preprocess import AudioNormalizer
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from speechbrain.nnet.pooling import StatisticsPooling
from speechbrain.processing.features import InputNormalization, spectral_magnitude
from speechbrain.utils.checkpoints import hook_on_loading_state_dict_checkpoint
from torch import Tensor, nn

from interpretability.budget import within
from interpretability.classifiers.importing import fetches
from interpretability.classifiers.layers import DEFAULT_LAYERS, FeatureLayer, Layout, evenly_spaced
from interpretability.classifiers.waveform import WaveformClassifier, WaveformSettings, frontend_for
from interpretability.errors import MissingError, UserError, shown, user_errors
from interpretability.exported import HYPERPARAMS
from interpretability.frontend import FrontendSettings
from interpretability.hub import is_inside
from interpretability.reading import read_bytes
from interpretability.safe_yaml import MAX_BYTES, Document, Node, build, dump, parse
from interpretability.settings import setting
from interpretability.weight_files import FileSize, file_size, read_tensors
from interpretability.weights import load_state, read_weights

#: Modules that the two classes of SpeechBrain call, in their order.
ENCODER = ("compute_features", "mean_var_norm", "embedding_model", "classifier")
AUDIO = ("compute_stft", "compute_fbank", "embedding_model", "classifier")
#: Plain values of the YAML that AudioClassifier reads.
SCALARS = ("use_melspectra", "spec_mag_power")
#: Blocks of ECAPA-TDNN and x-vectors, and where ECAPA-TDNN joins its blocks.
BLOCK = re.compile(r"embedding_model\.(blocks\.\d+|mfa)")
#: Scale of cosines in SpeechBrain's additive angular margin.
COSINE_SCALE = 30.0
DEFAULT_RATE = 16000  # Hz, of SpeechBrain's AudioNormalizer

#: What a tag may name, anywhere in the YAML.
PACKAGES = ("speechbrain.", "torch.", "torchaudio.", "interpretability.")
#: Where the networks may come from that the YAML builds.
NETWORKS = ("speechbrain.lobes.", "speechbrain.nnet.", "speechbrain.processing.", "torch.nn.", "torchaudio.transforms.")
#: What else it may build.
HELPERS = (CategoricalEncoder, CTCTextEncoder, TextEncoder, AudioNormalizer)
#: What it says which files belong to what with. It is read, and not built.
PRETRAINER = "!new:speechbrain.utils.parameter_transfer.Pretrainer"
#: Largest number that a network may be built with, and of a label encoder's file in bytes.
MAX_SETTING, MAX_LABELS_BYTES = 10**6, 2**22


@dataclass(frozen=True)
class SpeechBrainSettings(WaveformSettings):
    """Settings of ``speechbrain``."""

    hyperparams: str = setting("", "YAML of the model's modules: what is kept of hyperparams.yaml")
    statistics: dict = setting({}, "module -> shape of its global statistics, which are saved with the weights")
    logit_scale: float | None = setting(
        None, "factor of the model's outputs; null: 30 for a cosine head, 1 for others", above=0
    )


class BlockLayout(Layout):
    """Blocks of an ECAPA-TDNN or x-vector, which are all of one resolution, where a model has them."""

    def default_layers(self, layers: Sequence[FeatureLayer]) -> list[str]:
        """See :meth:`Layout.default_layers`; evenly spaced blocks."""
        blocks = [layer for layer in layers if BLOCK.fullmatch(layer.name)]
        if len(blocks) < 2 or len({(layer.stride, layer.columns) for layer in blocks}) > 1:
            return super().default_layers(layers)
        return evenly_spaced([layer.name for layer in blocks], DEFAULT_LAYERS)


class SpeechBrainClassifier(WaveformClassifier):
    """A classifier of SpeechBrain: ``EncoderClassifier`` or ``AudioClassifier``; see :meth:`from_folder`.

    Parameters
    ----------
    labels, frontend, task
        As in :class:`~interpretability.classifiers.waveform.WaveformClassifier`.
    **settings
        Fields of :class:`SpeechBrainSettings`.

    Raises
    ------
    UserError
        If the YAML would run other code than networks of SpeechBrain and PyTorch, or cannot be built.
    """

    NAME = "speechbrain"
    Settings = SpeechBrainSettings
    HEAD = ("module.classifier",)

    def __init__(
        self,
        labels: Sequence[str],
        frontend: FrontendSettings | dict | None = None,
        task: str = "single",
        **settings: Any,
    ):
        given = self.Settings.make(self.NAME, settings)
        model = SpeechBrainModel(given.hyperparams, given.statistics)
        if given.logit_scale is None:
            settings["logit_scale"] = COSINE_SCALE if isinstance(model["classifier"], CosineHead) else 1.0
        super().__init__(labels, frontend, task, model=model, layout=BlockLayout, **settings)

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        labels: Sequence[str] | None = None,
        task: str = "single",
        layers: Sequence[str] | None = None,
        level: str = "none",
        scale: str = "mel",
        logit_scale: float | None = None,
        output: str | None = None,
        thresholds: Sequence[float] | None = None,
        resampling: str = "published",
    ) -> SpeechBrainClassifier:
        """Load a folder that SpeechBrain's ``from_hparams`` takes, offline; nothing is written.

        Parameters
        ----------
        folder : path
            Holds ``hyperparams.yaml``, the label encoder and the weights.
        labels : sequence of str, optional
            Class names; those of the folder's label encoder if not given.
        task, layers, scale, logit_scale, output, thresholds
            As in the constructor.
        level : {"none", "peak"}
            The front end's level rule; SpeechBrain has none.
        resampling : {"accurate", "published"}
            The filter for sounds of another rate; by default that of SpeechBrain's own classes.

        Raises
        ------
        MissingError
            If the folder, its YAML, or a file that the YAML loads is not there.
        UserError
            If the YAML holds tags that are refused, is not that of a classifier, or its files do not fit.
        """
        folder = Path(folder)
        path = folder / HYPERPARAMS
        if not path.is_file():
            raise MissingError(
                f"no {HYPERPARAMS} in {folder}: pass the folder of a SpeechBrain EncoderClassifier or AudioClassifier"
            )
        document = parse(read_bytes(path, MAX_BYTES), str(path), PACKAGES)
        names = _modules_of(document)
        whole = document.get("modules").value
        kept = {"modules": Node({name: whole[name] for name in names})}
        if names != ENCODER:
            kept |= {name: document.get(name) for name in SCALARS if name in document}
        also = {name: document.get(name) for name in ("label_encoder", "audio_normalizer") if name in document}
        loadables, files = _pretrainer_of(document, [kept["modules"], *also.values()])
        files = {name: _found(name, place, folder) for name, place in files.items()}
        with within(_size_of(loadables, files), str(path)):
            built = _built(Node({**kept, **also, "loadables": Node(loadables)}), str(path))
        loaded = _load_files(built["loadables"], files)
        _check_loaded(built["modules"], loaded, str(path))
        if labels is None:
            labels = labels_of(built.get("label_encoder"), path)
        normalizer = built.get("audio_normalizer")
        rate = document.plain("sample_rate", getattr(normalizer, "sample_rate", DEFAULT_RATE))
        statistics = {
            name: list(module.glob_mean.shape)
            for name, module in built["modules"].items()
            if isinstance(module, InputNormalization) and module.norm_type == "global"
        }
        settings = {"hyperparams": dump(kept), "statistics": statistics, "logit_scale": logit_scale}
        settings |= {"layers": layers, "scale": scale, "output": output, "thresholds": thresholds}
        classifier = cls(labels, frontend_for(rate, level, resampling), task, **settings)
        with torch.no_grad():
            classifier.module.take(built["modules"])
        return classifier

    def architecture_for(self, n_classes: int) -> dict[str, Any]:
        """See :meth:`Classifier.architecture_for`; the YAML says of how many outputs the head is.

        Raises
        ------
        UserError
            If its head does not say so as SpeechBrain's do, by ``out_neurons``.
        """
        settings = super().architecture_for(n_classes)
        document = parse(settings["hyperparams"], "hyperparams", PACKAGES)
        modules = document.get("modules")
        head = modules.value["classifier"]
        if not isinstance(head.value, dict) or "out_neurons" not in head.value:
            raise UserError(f"{head.tag} has no out_neurons: its number of classes cannot be changed")
        head = Node({**head.value, "out_neurons": Node(n_classes)}, head.tag)
        also = {name: document.get(name) for name in SCALARS if name in document}
        hyperparams = dump({"modules": Node({**modules.value, "classifier": head}), **also})
        return {**settings, "hyperparams": hyperparams}

    @property
    def embedding_module(self) -> str:
        """See :attr:`WaveformClassifier.embedding_module`."""
        return "embedding_model"

    def outputs_of(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """See :meth:`WaveformClassifier.outputs_of`."""
        return self.settings.logit_scale * self.module(wavs, lengths.to(wavs) / wavs.shape[1])


class SpeechBrainModel(nn.ModuleDict):
    """The modules of a SpeechBrain classifier, called as its ``classify_batch`` calls them.

    Parameters
    ----------
    hyperparams : str
        YAML with ``modules`` and, of an ``AudioClassifier``, the plain values in :data:`SCALARS`.
    statistics : dict
        As in :class:`SpeechBrainClassifier`.
    """

    def __init__(self, hyperparams: str, statistics: Mapping[str, Sequence[int]]):
        document = parse(hyperparams, "hyperparams", PACKAGES)
        names = _modules_of(document)
        built = _built(document.whole(), "hyperparams")
        super().__init__({name: built["modules"][name] for name in names})
        self.encodes, self.statistics = names == ENCODER, tuple(statistics)
        power, self.use_mel = built.get("spec_mag_power", 1.0), bool(built.get("use_melspectra", True))
        if isinstance(power, bool) or not isinstance(power, (int, float)):
            raise UserError(f"hyperparams: spec_mag_power is {shown(power)}, expected a number")
        self.power = float(power)
        for name, shape in statistics.items():
            _check_statistics(self, name, shape)
            # As buffers they move and are saved with the rest, which the plain attributes of SpeechBrain are not.
            for attribute, value in (("glob_mean", 0.0), ("glob_std", 1.0)):
                delattr(self[name], attribute)
                self[name].register_buffer(attribute, torch.full(tuple(shape), value))

        for module in self.modules():
            if isinstance(module, StatisticsPooling):
                module._get_gauss_noise = partial(_middle_of_noise, module.eps)

    def take(self, modules: Mapping[str, nn.Module]) -> None:
        """Take over the weights, and global statistics, of modules that were built from the same YAML."""
        for name, module in self.items():
            state = modules[name].state_dict()
            if name in self.statistics:
                state |= {key: getattr(modules[name], key) for key in ("glob_mean", "glob_std")}
            module.load_state_dict(state)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """Return ``out_prob`` [B, C] of ``classify_batch``.

        Parameters
        ----------
        wavs : Tensor [B, N]
        lengths : Tensor [B] in (0, 1]
            Relative lengths.
        """
        if self.encodes:
            features = self["mean_var_norm"](self["compute_features"](wavs), lengths)
            embeddings = self["embedding_model"](features, lengths)
        else:
            spectra = spectral_magnitude(self["compute_stft"](wavs), power=self.power)
            embeddings = self["embedding_model"](self["compute_fbank"](spectra) if self.use_mel else spectra.log1p())
            if embeddings.ndim == 4:
                embeddings = embeddings.mean((-1, -2))
        scores = self["classifier"](embeddings)
        return scores.squeeze(1) if scores.ndim == 3 else scores


def _middle_of_noise(eps: float, shape: Sequence[int], device: str | torch.device = "cpu") -> Tensor:
    """Stand in for the noise of ``StatisticsPooling``, which lies between eps and 9 eps."""
    return torch.full(tuple(shape), 5 * eps, device=device)


# --------------------------------------------------------------------------------------------------------- the YAML


def _modules_of(document: Document) -> tuple[str, ...]:
    """Return the names of the modules that one of SpeechBrain's two classes calls."""
    modules = document.get("modules")
    given = modules.value if modules is not None and isinstance(modules.value, dict) and not modules.tag else {}
    for names in (ENCODER, AUDIO):
        needed = tuple(name for name in names if name != "compute_fbank" or document.plain("use_melspectra", True))
        if all(name in given for name in needed):
            return needed
    raise UserError(
        f"{document.where}: modules are {', '.join(map(str, given)) or 'missing'}; expected those of EncoderClassifier "
        f"({', '.join(ENCODER)}) or of AudioClassifier ({', '.join(AUDIO)})"
    )


def _pretrainer_of(document: Document, needed: Sequence[Node]) -> tuple[dict[str, Node], dict[str, str]]:
    """Return what the pretrainer loads of what is needed, by name, and where it says that the files are."""
    pretrainer = document.get("pretrainer")
    if pretrainer is None or pretrainer.tag != PRETRAINER or not isinstance(pretrainer.value, dict):
        raise UserError(f"{document.where}: has no pretrainer, which says what files belong to the model")
    parts = {name: pretrainer.value.get(name, Node({})).value for name in ("loadables", "paths")}
    for name, part in parts.items():
        if not isinstance(part, dict):
            raise UserError(f"{document.where}: {name} of its pretrainer are no names with values")
    wanted = {id(node) for root in needed for node in root.walk() if node.tag}
    loadables = {
        str(name): node for name, node in parts["loadables"].items() if any(id(part) in wanted for part in node.walk())
    }
    paths = {str(name): str(node.value) for name, node in parts["paths"].items()}
    return loadables, {name: paths.get(name, f"{name}.ckpt") for name in loadables}


def _built(node: Node, where: str) -> dict[str, Any]:
    """Build what a part of the YAML describes, if all of it is on the list and no number is too large."""
    for part in node.walk():
        if isinstance(part.value, (int, float)) and abs(part.value) > MAX_SETTING:
            raise UserError(f"{where}: a setting of a module is {part.value}, expected at most {MAX_SETTING}")
    return build(node, partial(_target, where=where), where)


def _target(tag: str, where: str) -> Any:
    """Return the network's class that a tag names, or one of the helpers; refuse anything else."""
    kind, _, place = tag.partition(":")
    # What is not on the list is not even imported.
    listed = place.startswith(NETWORKS) and not fetches(place)
    listed |= place in {f"{helper.__module__}.{helper.__qualname__}" for helper in HELPERS}
    failure = f"{where}: {tag!r} cannot be imported"
    with user_errors(failure, pydoc.ErrorDuringImport, advice=": install its package"):
        target = pydoc.locate(place) if listed and kind in ("!new", "!name") else None
    # Where it is defined, not where it is imported: a module has everything that it imports as attributes.
    origin = getattr(target, "__module__", "") + "."
    network = inspect.isclass(target) and issubclass(target, nn.Module) and origin.startswith(NETWORKS)
    if target in HELPERS or (network and not fetches(origin)):
        return target
    raise UserError(
        f"{where}: {tag!r} is refused: expected networks of {', '.join(package + '*' for package in NETWORKS)} that "
        "fetch nothing, an encoder of labels or an AudioNormalizer"
    )


def _check_statistics(model: nn.ModuleDict, name: str, shape: Any) -> None:
    """Refuse statistics of what has none, or of another size than the bands of a spectrogram."""
    has_some = name in model and isinstance(model[name], InputNormalization)
    sizes = list(shape) if isinstance(shape, (list, tuple)) else [None]
    if not has_some or len(sizes) > 2 or not all(type(size) is int and 0 < size <= MAX_SETTING for size in sizes):
        raise UserError(
            f"statistics: {shown(name)} is {shown(shape)}, expected a normalisation and the sizes of its mean"
        )


# -------------------------------------------------------------------------------------------------------- the files


def files_of(document: Document, parts: Mapping[str, Node], folder: Path) -> dict[str, Path]:
    """Return the files that the pretrainer of a YAML loads into parts of it, by the names of the parts.

    Raises
    ------
    MissingError, UserError
        If there is no pretrainer, it loads nothing into one of them, or the file is not in the folder.
    """
    loadables, files = _pretrainer_of(document, list(parts.values()))
    names = {id(node): name for name, node in loadables.items()}
    lacking = [part for part, node in parts.items() if id(node) not in names]
    if lacking:
        raise UserError(
            f"{document.where}: its pretrainer loads no file into {lacking[0]}: name it among its loadables"
        )
    return {part: _found(names[id(node)], files[names[id(node)]], folder) for part, node in parts.items()}


def _found(name: str, given: str, folder: Path) -> Path:
    """Return where a file is that the pretrainer names: in the folder, whatever path stands in front of its name."""
    place = folder / given.replace("\\", "/").rsplit("/", 1)[-1]
    with user_errors(f"{folder}: {shown(given)} is no file", OSError):  # such as a name that is too long
        if not place.is_file():
            raise MissingError(
                f"no {place.name} in {folder}, which {HYPERPARAMS} loads as {name} from {shown(given)}: copy it there"
            )
    if not is_inside(place, folder):
        raise UserError(f"{place} leads out of its folder: put the file itself there")
    return place


def _size_of(loadables: Mapping[str, Node], files: Mapping[str, Path]) -> FileSize:
    """Return what the files of weights hold; those of labels are none."""
    labels = {f"!new:{helper.__module__}.{helper.__qualname__}" for helper in HELPERS}
    return sum((file_size(files[name]) for name, node in loadables.items() if node.tag not in labels), FileSize(0, 0))


def _load_files(loadables: Mapping[str, Any], files: Mapping[str, Path]) -> list[nn.Module]:
    """Load files into what they belong to; return the modules among that."""
    for name, loadable in loadables.items():
        path = files[name]
        if isinstance(loadable, InputNormalization):
            _load_statistics(loadable, path)
        elif isinstance(loadable, nn.Module):
            # Where SpeechBrain would only log what is missing; it knows the names of its older versions.
            load_state(loadable, {"": hook_on_loading_state_dict_checkpoint(read_weights(path))}, path)
        else:
            load_labels(loadable, path)
    return [loadable for loadable in loadables.values() if isinstance(loadable, nn.Module)]


def _load_statistics(module: InputNormalization, path: Path) -> None:
    """Load the global statistics of a normalisation, which are no weights of PyTorch."""
    content = read_tensors(path)
    values = [content.get(name) for name in ("glob_mean", "glob_std")] if isinstance(content, dict) else [None]
    if not all(isinstance(value, Tensor) and value.isfinite().all() for value in values) or "count" not in content:
        raise UserError(f"{path}: no statistics of a normalisation: expected count, glob_mean and glob_std")
    module._load_statistics_dict(content)


def _check_loaded(modules: Mapping[str, nn.Module], loaded: Sequence[nn.Module], where: str) -> None:
    """Refuse modules with weights of which no file was loaded: they would be random."""
    known = {id(part) for module in loaded for part in module.modules()}
    empty = [
        name
        for name, module in modules.items()
        if any(id(part) not in known and _has_weights(part) for part in module.modules())
    ]
    if empty:
        raise UserError(
            f"{where}: no file is loaded with the weights of {', '.join(empty)}: name it among the loadables of the "
            "pretrainer"
        )


def _has_weights(module: nn.Module) -> bool:
    """Return whether a module itself has something that is learned, apart from those in it."""
    if isinstance(module, InputNormalization):
        return module.norm_type == "global"
    batch_statistics = getattr(module, "running_mean", None) is not None
    return batch_statistics or any(True for _ in module.parameters(recurse=False))


def load_labels(encoder: CategoricalEncoder, path: Path) -> None:
    """Load a label encoder's file, which is data; a :class:`UserError` if it holds no labels with indices."""
    read_bytes(path, MAX_LABELS_BYTES)
    try:
        encoder.load(path)
    except Exception as error:  # SpeechBrain's reader raises many types, with words that say little of the file
        raise UserError(
            f"{path}: no labels of a {type(encoder).__name__}: expected lines such as 'dog' => 0, then one of =, then "
            "'starting_index' => 0, in UTF-8; copy the file again"
        ) from error


def labels_of(encoder: Any, where: Path) -> list[str]:
    """Return the class names of a label encoder, in the order of the logits.

    Raises
    ------
    UserError
        If there are none, or their indices leave some out.
    """
    names = getattr(encoder, "ind2lab", None)
    if not names:
        raise UserError(f"{where}: has no label_encoder with labels: pass the class names as labels")
    if sorted(names) != list(range(len(names))):
        known = shown(sorted(names))
        raise UserError(f"{where}: its label encoder has the indices {known}, expected 0 to {len(names) - 1}")
    return [str(names[index]) for index in range(len(names))]
