"""``huggingface``: any ``AutoModelForAudioClassification`` of Transformers whose feature extractor is supported."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpretability.classifiers.attention import VARIANTS
from interpretability.classifiers.base import ActivationMap, AnalysedBatch, ClassifierOutput, check_labels
from interpretability.classifiers.check import SHORT, noise
from interpretability.classifiers.extractors import EXTRACTORS, Extractor
from interpretability.classifiers.families import family_of
from interpretability.classifiers.hooks import in_evaluation
from interpretability.classifiers.importing import (
    bounded_loading,
    make_configuration,
    misfits,
    quiet_transformers,
    refuse_adapter,
)
from interpretability.classifiers.waveform import WaveformClassifier, WaveformSettings, frontend_for
from interpretability.errors import MissingError, UserError, placed, user_errors
from interpretability.files import expanded, write_errors
from interpretability.frontend import FrontendSettings
from interpretability.settings import setting
from interpretability.weights import check_finite

#: What a configuration holds besides the architecture: class list, files, kinds of output.
NOT_ARCHITECTURE = {
    "_name_or_path",
    "architectures",
    "attn_implementation",
    "dtype",
    "id2label",
    "label2id",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "problem_type",
    "return_dict",
    "torch_dtype",
    "transformers_version",
}


@dataclass(frozen=True, kw_only=True)
class HuggingFaceSettings(WaveformSettings):
    """Settings of ``huggingface``."""

    config: dict = setting(dataclasses.MISSING, "model_type, and settings of its configuration in Transformers")
    extractor: dict | None = setting(
        None, "feature_extractor_type and its settings; others follow from config, or are that type's defaults"
    )


class HuggingFaceClassifier(WaveformClassifier):
    """An audio classifier of Transformers, with eager attention.

    Parameters
    ----------
    labels, task
        As in :class:`~interpretability.classifiers.base.Classifier`.
    frontend : FrontendSettings or dict, optional
        At the extractor's sampling rate; without a level rule if not given.
    model : torch.nn.Module, optional
        The model itself; one with random weights is built if not given.
    **settings
        Fields of :class:`HuggingFaceSettings`.

    Raises
    ------
    UserError
        For a type of model, a feature extractor or a setting that is not known, or where they do not fit each other.

    Notes
    -----
    Models with an input of fixed size (AST, Whisper) hear only the first part of a longer clip, as they do in
    Transformers. A warning says so once; the feature maps of the rest are zero.
    """

    NAME = "huggingface"
    Settings = HuggingFaceSettings
    ANSWERS = "logits"

    def __init__(
        self,
        labels: Sequence[str],
        frontend: FrontendSettings | dict | None = None,
        task: str = "single",
        *,
        model: nn.Module | None = None,
        **settings: Any,
    ):
        given = self.Settings.make(self.NAME, settings)
        if "model_type" not in given.config:
            raise UserError(f"{self.NAME}: config is {given.config!r}, expected a dict with model_type")
        refuse_regression(given.config.get("problem_type"), self.NAME)
        labels = check_labels(labels, task)
        config = {key: value for key, value in given.config.items() if key not in NOT_ARCHITECTURE}
        full = configuration(config, labels, task)
        family, wanted = family_of(full.model_type), dict(given.extractor or {})
        rate = None
        if frontend is not None:
            rate = frontend["sample_rate"] if isinstance(frontend, dict) else frontend.sample_rate
            wanted.setdefault("sampling_rate", rate)
        extractor = family.make_extractor(full, wanted)
        if rate not in (None, extractor.sample_rate):
            raise UserError(
                f"the front end is at {rate} Hz, the model's feature extractor at {extractor.sample_rate} Hz: "
                "give both the same sampling rate"
            )
        settings["config"] = config
        settings["extractor"] = {"feature_extractor_type": extractor.KIND, **extractor.settings}
        frontend = frontend_for(extractor.sample_rate) if frontend is None else frontend
        model = build_model(full) if model is None else model
        super().__init__(labels, frontend, task, model=model, layout=partial(family, extractor=extractor), **settings)
        if self.layout.attention and self.layers:
            self.ACTIVATIONS = VARIANTS
        self.train()

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        labels: Sequence[str] | None = None,
        task: str | None = None,
        layers: Sequence[str] | None = None,
        level: str = "none",
        scale: str = "mel",
        thresholds: Sequence[float] | None = None,
        resampling: str = FrontendSettings.resampling,
    ) -> HuggingFaceClassifier:
        """Take a model and its feature extractor as ``from_pretrained`` of Transformers loads them.

        Parameters
        ----------
        source : path or str
            A folder, or a name on the hub.
        labels : sequence of str, optional
            In place of the configuration's.
        task : {"single", "multi"}, optional
            By default as the configuration's ``problem_type`` says.
        layers, scale, thresholds
            As in the constructor.
        level : {"none", "peak"}
            The front end's level rule.
        resampling : {"accurate", "published"}
            The filter for sounds of another rate.

        Raises
        ------
        MissingError
            If there is no such folder, or one of its files is absent.
        UserError
            If it is of a kind that is not known, or has no classification head.
        """
        import transformers
        from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

        place = str(expanded(source))
        if not Path(place).exists() and (place.startswith((".", "/", "~")) or place.count("/") > 1):
            raise MissingError(f"no folder {place}: give one that save_pretrained wrote, or a name on the hub")
        if Path(place).is_file():
            raise UserError(f"{place} is a file: give the folder that save_pretrained wrote, or a name on the hub")
        if Path(place).is_dir():
            refuse_adapter(Path(place))
            if not (Path(place) / "config.json").is_file():
                raise MissingError(f"no config.json in {place}: give a folder that save_pretrained wrote")
        wanted = f"model for audio classification of transformers {transformers.__version__} with its feature extractor"
        files = "config.json, model.safetensors and preprocessor_config.json"
        advice = f"; give a folder with {files}, or a name on the hub"
        absent = user_errors(f"{source}: no {wanted}", OSError, advice=advice, kind=MissingError)
        # Damaged weights, odd settings and missing packages have no common type.
        foreign = user_errors(f"{source}: cannot be loaded by transformers", whole=True)
        with foreign, absent, quiet_transformers(), bounded_loading(place):
            # By default Transformers asks at the terminal whether it may run code in the folder.
            safe = {"trust_remote_code": False}
            options = {"attn_implementation": "eager", "dtype": torch.float32, "output_loading_info": True}
            options["ignore_mismatched_sizes"] = True  # they are refused below, with both sizes
            model, report = AutoModelForAudioClassification.from_pretrained(place, **options, **safe)
            extractor = AutoFeatureExtractor.from_pretrained(place, **safe).to_dict()
        config = model.config
        refuse_regression(config.problem_type, str(source))
        if report["mismatched_keys"]:
            _refuse_weights(source, report)
        names = [name for name, _ in model.named_buffers()]
        trained = {name: value for name, value in model.state_dict().items() if name not in report["missing_keys"]}
        check_finite(trained.items(), source, names)
        if labels is None:
            if sorted(config.id2label) != list(range(config.num_labels)):
                raise UserError(
                    f"{source}: id2label has the indices {sorted(config.id2label)}, expected 0 to "
                    f"{config.num_labels - 1}: correct config.json, or give labels"
                )
            labels = [config.id2label[index] for index in range(config.num_labels)]
        if len(labels) != config.num_labels:
            raise UserError(f"{source}: got {len(labels)} class names, expected {config.num_labels}: one per logit")
        if task != "multi" and len(labels) == 1:
            raise UserError(
                f"{source}: a head of one output, whose softmax is always 1: give task=multi if it says whether there "
                f"is such an event ({labels[0]!r}); a head that predicts a quantity cannot be explained"
            )
        if task is None:
            task = "multi" if config.problem_type == "multi_label_classification" else "single"
        kind = extractor.get("feature_extractor_type")
        known = EXTRACTORS[kind].DEFAULTS if kind in EXTRACTORS else {}
        described = {"feature_extractor_type": kind} | {key: extractor[key] for key in known if key in extractor}
        rate = described.get("sampling_rate", known.get("sampling_rate", 16000))
        settings = {"config": known_settings(config.to_diff_dict()), "extractor": described}
        settings |= {"layers": layers, "scale": scale, "thresholds": thresholds}
        with placed(source):
            classifier = cls(labels, frontend_for(rate, level, resampling), task, model=model, **settings)
        missing = set(map(str, report["missing_keys"]))
        if missing:
            idle = classifier.idle_parameters()
            if missing - idle.keys():
                _refuse_weights(source, {**report, "missing_keys": missing - idle.keys()})
            for name in missing:  # random until here, and never used
                idle[name].data.zero_()
        return classifier

    def save_pretrained(self, folder: str | Path) -> None:
        """Save model and feature extractor as Transformers does: a folder that it, and ``hf:FOLDER``, opens again.

        The front end is not part of it: ``hf:`` opens it without a level rule, or with the one that is given.
        """
        import transformers

        with write_errors(folder), quiet_transformers():
            self.module.save_pretrained(folder)
            getattr(transformers, self.extractor.KIND)(**self.extractor.settings).save_pretrained(folder)

    @property
    def HEAD(self) -> tuple[str, ...]:
        """See :attr:`Classifier.HEAD`: all that the model for classification has beside the pretrained one."""
        from transformers import PreTrainedModel

        parts = (name for name, part in self.module.named_children() if not isinstance(part, PreTrainedModel))
        weights = (name for name, _ in self.module.named_parameters(recurse=False))
        return tuple(f"module.{name}" for name in (*parts, *weights))

    def architecture_for(self, n_classes: int) -> dict[str, Any]:
        """See :meth:`Classifier.architecture_for`; without a mask of its own in training, which short clips break."""
        settings = super().architecture_for(n_classes)
        if hasattr(self.module.config, "apply_spec_augment"):
            settings["config"] = {**settings["config"], "apply_spec_augment": False}
        return settings

    def idle_parameters(self) -> dict[str, nn.Parameter]:
        """Return those of the model's parameters that no answer depends on: such as masks that only training uses."""
        named = dict(self.module.named_parameters())
        wavs = noise(1, round(SHORT * self.frontend.settings.sample_rate))
        with in_evaluation(self.module), torch.enable_grad():
            logits = self.checked_logits(wavs, torch.tensor([wavs.shape[1]]))
            gradients = torch.autograd.grad(logits.sum(), list(named.values()), allow_unused=True)
        return {name: part for (name, part), slope in zip(named.items(), gradients, strict=True) if slope is None}

    @property
    def extractor(self) -> Extractor:
        """The feature extractor; it has nothing to learn or to save."""
        return self.layout.extractor

    def _apply(self, function, *args, **kwargs):
        self.extractor._apply(function, *args, **kwargs)
        return super()._apply(function, *args, **kwargs)

    @property
    def longest(self) -> int | None:
        """See :attr:`WaveformClassifier.longest`."""
        return self.extractor.longest

    def outputs_of(self, wavs: Tensor, lengths: Tensor) -> Any:
        """See :meth:`WaveformClassifier.outputs_of`."""
        wavs = functional.pad(wavs, (0, max(0, self.layout.shortest - wavs.shape[1])))
        arguments = self.extractor(wavs, lengths)
        dtype = next(self.module.parameters()).dtype
        arguments = {key: value.to(dtype) if value.is_floating_point() else value for key, value in arguments.items()}
        return self.module(**arguments, return_dict=True).logits

    # ---------------------------------------------------------------------------------------------------- attention

    def run_together(self, wavs: Tensor, lengths: Tensor) -> ClassifierOutput:
        """See :meth:`WaveformClassifier.run_together`; in eval mode with AST's attention."""
        if not self.ACTIVATIONS or self.training:
            return super().run_together(wavs, lengths)
        attention = self.layout.attention
        with attention.recorded(attention.to_patches) as layers:
            output = super().run_together(wavs, lengths)
        values = torch.stack(list(layers.values()), dim=1)  # [b, L, patches]
        return dataclasses.replace(output, attention=self._on_patches(values, self.frontend.n_frames(wavs.shape[1])))

    def activation_map(self, batch: AnalysedBatch, variant: str = "last") -> ActivationMap:
        """See :meth:`Classifier.activation_map`; of AST alone.

        ``last`` and ``mean``: attention of the class and the distillation token to the patches, mean over heads and
        over the two, of which the head takes the mean.

        ``rollout`` (arXiv 2005.00928): with A_l the mean over heads of layer l's attention, these tokens' rows of the
        product of 0.5 A_l + 0.5 I over the layers, from the last to the first.

        ``gradient`` (arXiv 2103.15679, the rule for self-attention): with G_l the gradient of the target's logit,
        R = I, then R <- R + mean over heads of (G_l * A_l)^+ R, from the first layer to the last; these tokens' rows
        of R - I.
        """
        if variant not in ("rollout", "gradient"):
            return super().activation_map(batch, variant)
        self.check_activation(variant)
        # One by one: the attention of every head of every layer takes much memory.
        clips = zip(batch.clips.wavs.split(1), batch.clips.lengths.split(1), batch.target.split(1), strict=True)
        values = torch.cat([self._attention_map(*clip, variant) for clip in clips])  # [B, patches]
        grid, rows = self._last_level(batch.spectrogram)
        values = self._on_patches(values[:, None], batch.spectrogram.magnitude.shape[1])[:, 0]
        return ActivationMap(values * rows[..., None], grid, rows)

    def _attention_map(self, wavs: Tensor, lengths: Tensor, target: Tensor, variant: str) -> Tensor:
        if variant == "rollout":
            return self.layout.attention.rollout(lambda: self.checked_logits(wavs, lengths))
        # The parameters of a frozen classifier require no gradient, so the input has to.
        wavs = wavs.detach().clone().requires_grad_()
        return self.layout.attention.gradient_weighted(lambda: self.checked_logits(wavs, lengths), target)

    def _on_patches(self, values: Tensor, n_frames: int) -> Tensor:
        """Bring values [b, L, patches] to the grid of AST's feature maps [b, L, T', F']."""
        return self.layout.fit_rows(self.layers[-1], self.layout.to_grid(values), n_frames)

    def check_activation(self, variant: str) -> None:
        """See :meth:`Classifier.check_activation`; attention has to be eager, too."""
        super().check_activation(variant)
        self.layout.attention.check()


def refuse_regression(problem_type: str | None, source: str) -> None:
    """Refuse a head that predicts a quantity (:class:`UserError`): it has no classes, and no probability."""
    if problem_type == "regression":
        raise UserError(
            f"{source}: problem_type is 'regression': it predicts a quantity, which is no probability and cannot be "
            "explained here; if it was trained to classify, correct problem_type in its configuration"
        )


def _refuse_weights(source: str | Path, report: Mapping[str, Any]) -> NoReturn:
    raise UserError(
        f"{source}: weights are missing or of another size: {misfits(report)}; expected a model that was trained to "
        "classify, with its head"
    )


def configuration(settings: Mapping, labels: Sequence[str], task: str):
    """Return transformers' configuration of a model; a :class:`UserError` for unknown types and settings."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES as known

    settings = dict(settings)
    kind = settings.pop("model_type")
    if kind not in known:
        raise UserError(f"config: model_type is {kind!r}, expected one of {', '.join(known)}")
    default = AutoConfig.for_model(kind)
    unknown = [key for key in settings if not hasattr(default, key)]
    if unknown:
        raise UserError(f"config: {kind} has no setting {unknown[0]!r}; see {type(default).__name__} of transformers")
    names = dict(enumerate(labels))
    problem = "multi_label_classification" if task == "multi" else "single_label_classification"
    numbers = {name: index for index, name in names.items()}
    settings |= {"id2label": names, "label2id": numbers, "problem_type": problem}
    return make_configuration(partial(AutoConfig.for_model, kind), settings, kind)


def known_settings(settings: Mapping) -> dict:
    """Return those settings of a saved configuration that shape a model and that this version of Transformers knows."""
    from transformers import AutoConfig

    default = AutoConfig.for_model(settings["model_type"])
    known = [key for key in settings if key == "model_type" or hasattr(default, key)]
    return {key: settings[key] for key in known if key not in NOT_ARCHITECTURE}


def build_model(config) -> nn.Module:
    """Build the model of a configuration with random weights and eager attention."""
    from transformers import AutoModelForAudioClassification

    with user_errors(f"config: no {config.model_type} can be built of it", ValueError, RuntimeError, ZeroDivisionError):
        return AutoModelForAudioClassification.from_config(config, attn_implementation="eager")
