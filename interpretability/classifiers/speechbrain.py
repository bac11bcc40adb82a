"""SpeechBrain's pretrained classifiers, explained as they are: folders for ``EncoderClassifier``, ``AudioClassifier``.

A folder holds ``hyperparams.yaml`` and the files that its ``pretrainer`` names. It is read in place: nothing is
fetched, copied or linked, and a path in the YAML that leads elsewhere (to the hub from which the folder was copied) is
looked up in the folder by its file name.

HyperPyYAML can run any code. Here the YAML may build networks of SpeechBrain and PyTorch and what loads them, and
nothing else: every other tag is refused before anything is built. Only the parts of the YAML that the classifier needs
are kept.

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
import io
import pydoc
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ruamel.yaml
import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from speechbrain.dataio.encoder import CategoricalEncoder, CTCTextEncoder, TextEncoder
from speechbrain.dataio.preprocess import AudioNormalizer
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from speechbrain.nnet.pooling import StatisticsPooling
from speechbrain.processing.features import InputNormalization, spectral_magnitude
from speechbrain.utils.parameter_transfer import Pretrainer
from torch import Tensor, nn

from interpretability.classifiers.importing import fetches
from interpretability.classifiers.layers import DEFAULT_LAYERS, FeatureLayer, Layout, evenly_spaced
from interpretability.classifiers.waveform import WaveformClassifier, WaveformSettings, frontend_for
from interpretability.errors import MissingError, UserError, first_line, user_errors
from interpretability.frontend import FrontendSettings
from interpretability.settings import setting

HYPERPARAMS = "hyperparams.yaml"
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
HELPERS = (CategoricalEncoder, CTCTextEncoder, TextEncoder, AudioNormalizer, Pretrainer)
#: Tags of plain values.
VALUES = {"!", "!tuple"} | {
    f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null", "merge", "timestamp")
}
#: Tags of references to what else is in the YAML.
REFERENCES = {"!ref", "!copy", "!PLACEHOLDER"}


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
        whole = _resolved(path.read_text(encoding="utf-8"), str(path))
        names = _modules_of(whole, str(path))
        kept = {"modules": {name: whole["modules"][name] for name in names}}
        kept |= {name: whole[name] for name in SCALARS if name in whole and names != ENCODER}
        also = {name: whole[name] for name in ("pretrainer", "label_encoder", "audio_normalizer") if name in whole}
        built = _build(_dump({**kept, **also}), str(path))
        _load_files(built.get("pretrainer"), folder)
        if labels is None:
            labels = _labels(built.get("label_encoder"), folder)
        normalizer = built.get("audio_normalizer")
        rate = whole.get("sample_rate", getattr(normalizer, "sample_rate", DEFAULT_RATE))
        statistics = {
            name: list(module.glob_mean.shape)
            for name, module in built["modules"].items()
            if isinstance(module, InputNormalization) and module.norm_type == "global"
        }
        settings = {"hyperparams": _dump(kept), "statistics": statistics, "logit_scale": logit_scale}
        settings |= {"layers": layers, "scale": scale, "output": output, "thresholds": thresholds}
        classifier = cls(labels, frontend_for(rate, level, resampling), task, **settings)
        with torch.no_grad():
            classifier.module.take(built["modules"])
        return classifier

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
        built = _build(hyperparams, "hyperparams")
        names = _modules_of(built, "hyperparams")
        super().__init__({name: built["modules"][name] for name in names})
        self.encodes, self.statistics = names == ENCODER, tuple(statistics)
        self.power, self.use_mel = float(built.get("spec_mag_power", 1.0)), bool(built.get("use_melspectra", True))
        for name, shape in statistics.items():
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


def _modules_of(tree: Mapping, where: str) -> tuple[str, ...]:
    """Return the names of the modules that one of SpeechBrain's two classes calls."""
    modules = tree.get("modules")
    given = modules if isinstance(modules, Mapping) else {}
    for names in (ENCODER, AUDIO):
        needed = tuple(name for name in names if name != "compute_fbank" or tree.get("use_melspectra", True))
        if all(name in given for name in needed):
            return needed
    raise UserError(
        f"{where}: modules are {', '.join(given) or 'missing'}; expected those of EncoderClassifier "
        f"({', '.join(ENCODER)}) or of AudioClassifier ({', '.join(AUDIO)})"
    )


def _resolved(text: str, where: str) -> dict[str, Any]:
    """Return the YAML with its references resolved, as a tree with nothing built."""
    for tag in _tags(text, where):
        _check_name(tag, where)
    try:
        tree = ruamel.yaml.YAML().load(resolve_references(io.StringIO(text)).getvalue())
    except Exception as error:  # HyperPyYAML and its parser have no common type
        raise UserError(f"{where}: {first_line(error)} ({type(error).__name__}); correct the YAML") from error
    if not isinstance(tree, dict):
        raise UserError(f"{where}: expected keys and values, got {type(tree).__name__}")
    return tree


def _dump(tree: Mapping) -> str:
    stream = io.StringIO()
    ruamel.yaml.YAML().dump(dict(tree), stream)
    return stream.getvalue()


def _build(text: str, where: str) -> dict[str, Any]:
    """Build what a YAML without references describes, if all it would run is on the list."""
    for tag in _tags(text, where):
        _check_name(tag, where)
        _check_class(tag, where)
    try:
        return load_hyperpyyaml(text)
    except UserError:
        raise
    except Exception as error:  # whatever the constructors raise
        reason = " ".join(str(part) for part in error.args) or type(error).__name__
        raise UserError(f"{where}: its modules cannot be built ({' '.join(reason.split())[:300]})") from error


def _tags(text: str, where: str) -> Iterator[str]:
    """Yield the tag of every node, read by the parser that builds it, with nothing built."""
    with user_errors(f"{where}: not valid YAML", ruamel.yaml.error.YAMLError):
        root = ruamel.yaml.YAML().compose(text)
    waiting, visited = [root] if root is not None else [], set()
    while waiting:
        node = waiting.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        yield str(node.tag)
        if isinstance(node, ruamel.yaml.nodes.SequenceNode):
            waiting += node.value
        elif isinstance(node, ruamel.yaml.nodes.MappingNode):
            waiting += [child for pair in node.value for child in pair]


def _check_name(tag: str, where: str) -> None:
    """Refuse a tag that names something outside the packages, or that runs something while it is read."""
    kind, _, place = tag.partition(":")
    if tag in VALUES | REFERENCES or (kind in ("!new", "!name", "!apply") and place.startswith(PACKAGES)):
        return
    raise UserError(
        f"{where}: the tag {tag!r} is refused: it could run any code. Expected plain values, and !new:, !name: or "
        f"!apply: of {', '.join(package + '*' for package in PACKAGES)}"
    )


def _check_class(tag: str, where: str) -> None:
    """Refuse a tag that would run anything but a network's constructor, or one of the helpers'."""
    if tag in VALUES:
        return
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
        return
    raise UserError(
        f"{where}: {tag!r} is refused: expected networks of {', '.join(package + '*' for package in NETWORKS)} that "
        "fetch nothing, an encoder of labels, an AudioNormalizer or a Pretrainer"
    )


# -------------------------------------------------------------------------------------------------------- the files


def _load_files(pretrainer: Any, folder: Path) -> None:
    """Let SpeechBrain load the files of the folder, from where they are."""
    if not isinstance(pretrainer, Pretrainer):
        raise UserError(f"{folder / HYPERPARAMS}: has no pretrainer, which says what files belong to the model")
    pretrainer.set_collect_in(None)
    for name in pretrainer.loadables:
        if not pretrainer.is_loadable(name):
            continue
        given = str(pretrainer.paths.get(name, f"{name}.ckpt"))
        places = [folder / given.replace("\\", "/").rsplit("/", 1)[-1], Path(given)]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise MissingError(f"no {places[0].name} in {folder}, which {HYPERPARAMS} loads as {name}: copy it there")
        pretrainer.paths[name] = str(place)
        pretrainer.is_local.append(name)
    with user_errors(f"{folder}: its files do not fit {HYPERPARAMS}"):  # torch and the hooks raise many types
        pretrainer.load_collected()


def _labels(encoder: Any, folder: Path) -> list[str]:
    """Return the class names of a label encoder, in the order of the logits."""
    names = getattr(encoder, "ind2lab", None)
    if not names:
        raise UserError(f"{folder / HYPERPARAMS}: has no label_encoder with labels: pass the class names as labels")
    if sorted(names) != list(range(len(names))):
        raise UserError(f"{folder}: its label encoder has indices {sorted(names)}, expected 0 to {len(names) - 1}")
    return [str(names[index]) for index in range(len(names))]
