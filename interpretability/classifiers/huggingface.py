"""``huggingface``: any ``AutoModelForAudioClassification`` of transformers whose features are known here.

The model is transformers' own. Its feature extractor, which works on arrays and lets no gradient through, is computed
here in PyTorch: batched, differentiable, and equal to the original.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional

from interpretability.classifiers.base import ActivationMap, ClassifierOutput
from interpretability.classifiers.image import check_eager, quiet_transformers, relevance, rollout, watching
from interpretability.classifiers.waveform import (
    DEFAULT_LAYERS,
    FeatureLayer,
    WaveformClassifier,
    WaveformSettings,
    evenly_spaced,
    frontend_for,
    mel,
)
from interpretability.errors import MissingError, UserError, first_line
from interpretability.frontend import FrontendSettings, Spectrogram
from interpretability.grids import Grid
from interpretability.settings import setting

logger = logging.getLogger(__name__)

AST, WHISPER = "audio-spectrogram-transformer", "whisper"
#: Transformers on convolutions on the waveform, one position for each of their rows.
PLAIN = ("data2vec-audio", "hubert", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-conformer", "wavlm")
#: What a configuration says beside the architecture: of the class list, of the file, of what is returned.
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


class Extractor(nn.Module):
    """From waveforms [B, N] to what a model takes, as a feature extractor of transformers does it.

    Attributes
    ----------
    KIND : str
        Name of transformers' class.
    DEFAULTS : dict
        Its settings that matter, with its defaults.
    """

    KIND = ""
    DEFAULTS: ClassVar[dict] = {}

    def __init__(self, settings: Mapping):
        super().__init__()
        unknown = sorted(set(settings) - set(self.DEFAULTS))
        if unknown:
            raise UserError(
                f"extractor: {self.KIND} has no setting {unknown[0]!r}, expected among {sorted(self.DEFAULTS)}"
            )
        self.settings = {**self.DEFAULTS, **settings}
        self.sample_rate = int(self.settings["sampling_rate"])

    def _apply(self, function, recurse: bool = True):
        """Follow the model to its device, and stay in single precision, in which features are computed."""
        for name, buffer in self._buffers.items():
            self._buffers[name] = buffer.to(function(buffer).device)
        return self

    @property
    def longest(self) -> int | None:
        """Samples that the model hears; None if there is no limit."""
        return None

    def forward(self, wavs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Return the model's arguments.

        Parameters
        ----------
        wavs : Tensor [B, N]
            Zero beyond the clips' ends.
        lengths : Tensor [B]
            In samples.
        """
        raise NotImplementedError


class AstExtractor(Extractor):
    """Kaldi's log-mel filter bank: frames of 25 ms every 10 ms, brought to one number of frames, scaled.

    A sound shorter than a frame, which transformers refuses, is padded with zeros to one.
    """

    KIND = "ASTFeatureExtractor"
    DEFAULTS: ClassVar[dict] = {
        "sampling_rate": 16000,
        "num_mel_bins": 128,
        "max_length": 1024,
        "do_normalize": True,
        "mean": -4.2677393,
        "std": 4.5689974,
    }
    LOWEST_HERTZ = 20.0
    PREEMPHASIS = 0.97

    def __init__(self, settings: Mapping):
        super().__init__(settings)
        self.window_length, self.hop = int(self.sample_rate * 0.025), int(self.sample_rate * 0.010)
        self.n_fft = 2 ** (self.window_length - 1).bit_length()
        banks, _ = torchaudio.compliance.kaldi.get_mel_banks(
            self.settings["num_mel_bins"], self.n_fft, self.sample_rate, self.LOWEST_HERTZ, 0.0, 100.0, -500.0, 1.0
        )
        # Kaldi leaves the bin at half the sampling rate out.
        self.register_buffer("mel_weights", functional.pad(banks, (0, 1)).T.contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(self.window_length, periodic=False), persistent=False)

    @property
    def longest(self) -> int:
        """Samples that the model hears."""
        return (self.settings["max_length"] - 1) * self.hop + self.window_length

    def mel_centres(self) -> Tensor:
        """Return the centres of the mel bands in Hz [num_mel_bins], float64."""
        low, high = mel(self.LOWEST_HERTZ), mel(self.sample_rate / 2)
        bands = torch.arange(1, self.settings["num_mel_bins"] + 1, dtype=torch.float64)
        return 700 * (10 ** ((low + bands * (high - low) / (len(bands) + 1)) / 2595) - 1)

    def forward(self, wavs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Return ``input_values`` [B, max_length, num_mel_bins]."""
        size = self.settings["max_length"]
        with torch.autocast(device_type=wavs.device.type, enabled=False):
            wavs = wavs[:, : self.longest].float()
            wavs = functional.pad(wavs, (0, max(0, self.window_length - wavs.shape[1])))
            frames = wavs.unfold(1, self.window_length, self.hop)  # [B, M, window]
            frames = frames - frames.mean(dim=2, keepdim=True)
            frames = frames - self.PREEMPHASIS * torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
            spectrum = torch.fft.rfft(frames * self.window, n=self.n_fft)
            energy = torch.view_as_real(spectrum).square().sum(3) @ self.mel_weights  # [B, M, mels]
            features = energy.clamp(min=torch.finfo(torch.float32).eps).log()
            # Frames that do not lie wholly in the clip count as zero, before scaling.
            counts = 1 + (lengths - self.window_length).clamp(min=0) // self.hop  # [B]
            places = torch.arange(features.shape[1], device=wavs.device)
            features = features.masked_fill((places[None] >= counts[:, None])[..., None], 0.0)
            features = functional.pad(features, (0, 0, 0, size - features.shape[1]))
            if self.settings["do_normalize"]:
                features = (features - self.settings["mean"]) / (2 * self.settings["std"])
        return {"input_values": features}


class RawExtractor(Extractor):
    """The waveform itself, brought to mean 0 and variance 1 over the clip if ``do_normalize``."""

    KIND = "Wav2Vec2FeatureExtractor"
    DEFAULTS: ClassVar[dict] = {"sampling_rate": 16000, "do_normalize": True, "return_attention_mask": False}

    def forward(self, wavs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Return ``input_values`` [B, N]; of a padded batch also ``attention_mask``, if the model was made for it."""
        inside = torch.arange(wavs.shape[1], device=wavs.device)[None] < lengths[:, None]  # [B, N]
        if self.settings["do_normalize"]:
            count = lengths[:, None].to(wavs.dtype)
            centred = (wavs - (wavs * inside).sum(1, keepdim=True) / count) * inside
            wavs = centred / (centred.square().sum(1, keepdim=True) / count + 1e-7).sqrt()
        if self.settings["return_attention_mask"] and not bool(inside.all()):
            return {"input_values": wavs, "attention_mask": inside.long()}
        return {"input_values": wavs}


class WhisperExtractor(Extractor):
    """Whisper's log-mel spectrogram: padded with silence or cut to one length, at most 80 dB deep, scaled."""

    KIND = "WhisperFeatureExtractor"
    DEFAULTS: ClassVar[dict] = {
        "sampling_rate": 16000,
        "feature_size": 80,
        "hop_length": 160,
        "chunk_length": 30,
        "n_fft": 400,
        "dither": 0.0,
    }

    def __init__(self, settings: Mapping):
        from transformers.audio_utils import mel_filter_bank

        super().__init__(settings)
        if self.settings["dither"]:
            raise UserError(f"extractor: dither is {self.settings['dither']}, expected 0.0: it is random")
        self.n_fft, self.hop = self.settings["n_fft"], self.settings["hop_length"]
        filters = mel_filter_bank(
            num_frequency_bins=1 + self.n_fft // 2,
            num_mel_filters=self.settings["feature_size"],
            min_frequency=0.0,
            max_frequency=8000.0,
            sampling_rate=self.sample_rate,
            norm="slaney",
            mel_scale="slaney",
        )
        self.register_buffer("mel_weights", torch.from_numpy(filters).float(), persistent=False)  # [F, mels]
        self.register_buffer("window", torch.hann_window(self.n_fft), persistent=False)

    @property
    def longest(self) -> int:
        """Samples that the model hears."""
        return self.settings["chunk_length"] * self.sample_rate

    def forward(self, wavs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Return ``input_features`` [B, feature_size, frames]."""
        with torch.autocast(device_type=wavs.device.type, enabled=False):
            wavs = wavs[:, : self.longest].float()
            wavs = functional.pad(wavs, (0, self.longest - wavs.shape[1]))
            spectrum = torch.stft(wavs, self.n_fft, self.hop, window=self.window, return_complex=True)
            power = torch.view_as_real(spectrum[..., :-1]).square().sum(3)  # [B, F, frames]
            features = (self.mel_weights.T @ power).clamp(min=1e-10).log10()
            features = torch.maximum(features, features.amax(dim=(1, 2), keepdim=True) - 8.0)
            return {"input_features": (features + 4.0) / 4.0}


EXTRACTORS: dict[str, type[Extractor]] = {kind.KIND: kind for kind in (AstExtractor, RawExtractor, WhisperExtractor)}


@dataclass(frozen=True, kw_only=True)
class HuggingFaceSettings(WaveformSettings):
    """Settings of ``huggingface``."""

    config: dict = setting(dataclasses.MISSING, "model_type, and settings of its configuration in transformers")
    extractor: dict | None = setting(
        None, "feature_extractor_type and its settings; others follow from config, or are that type's defaults"
    )


class HuggingFaceClassifier(WaveformClassifier):
    """A model for audio classification of transformers, with eager attention.

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
    Models with an input of fixed size (AST, Whisper) hear the first part of a longer clip, as they do in transformers.
    This is said once; the feature maps of the rest are zero.
    """

    NAME = "huggingface"
    Settings = HuggingFaceSettings

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
        config = {key: value for key, value in given.config.items() if key not in NOT_ARCHITECTURE}
        wanted = dict(given.extractor or {})
        kind = wanted.pop("feature_extractor_type", None) or default_extractor(config["model_type"])
        if kind not in EXTRACTORS:
            raise UserError(f"feature extractor {kind!r} is not known, expected one of {sorted(EXTRACTORS)}")
        full = configuration(config, [str(label) for label in labels], task)
        rate = None
        if frontend is not None:
            rate = frontend["sample_rate"] if isinstance(frontend, dict) else frontend.sample_rate
            wanted.setdefault("sampling_rate", rate)
        try:
            features = EXTRACTORS[kind](_complete(kind, wanted, full))
        except UserError:
            raise
        except Exception as error:  # numbers that are none, or that no filter bank can be made of
            raise UserError(f"extractor: {kind} cannot be made of {wanted} ({first_line(error)})") from error
        _check_fit(features, full)
        if rate not in (None, features.sample_rate):
            raise UserError(
                f"the front end is at {rate} Hz, the model's feature extractor at {features.sample_rate} Hz: "
                "give both the same sampling rate"
            )
        frontend = frontend_for(features.sample_rate) if frontend is None else frontend
        self._warned = False
        # In a tuple, so that torch does not register it: nothing of it is learned or saved. It is moved in _apply.
        self._extractor = (features,)
        settings["config"] = config
        settings["extractor"] = {"feature_extractor_type": kind, **features.settings}
        super().__init__(labels, frontend, task, model=build_model(full) if model is None else model, **settings)
        if full.model_type == AST and self.layers:
            self.ACTIVATIONS = ("last", "mean", "rollout", "gradient")
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
    ) -> HuggingFaceClassifier:
        """Take a model and its feature extractor as ``from_pretrained`` of transformers finds them.

        Parameters
        ----------
        source : path or str
            A folder, or a name on the hub.
        labels : sequence of str, optional
            Instead of the configuration's.
        task : {"single", "multi"}, optional
            What the configuration's ``problem_type`` says if not given.
        layers, scale
            As in the constructor.
        level : {"none", "peak"}
            The front end's level rule.

        Raises
        ------
        MissingError
            If there is no such folder, or one of its files is absent.
        UserError
            If it is of a kind that is not known, or has no classification head.
        """
        import transformers
        from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

        place = str(source)
        if not Path(place).exists() and (place.startswith((".", "/", "~")) or place.count("/") > 1):
            raise MissingError(f"no folder {place}: give one that save_pretrained wrote, or a name on the hub")
        if Path(place).is_file():
            raise UserError(f"{place} is a file: give the folder that save_pretrained wrote, or a name on the hub")
        if Path(place).is_dir() and not (Path(place) / "config.json").is_file():
            raise MissingError(f"no config.json in {place}: give a folder that save_pretrained wrote")
        try:
            with quiet_transformers():
                # Without a word about code, transformers asks at the terminal whether it may run the folder's.
                model, report = AutoModelForAudioClassification.from_pretrained(
                    place,
                    attn_implementation="eager",
                    dtype=torch.float32,
                    output_loading_info=True,
                    trust_remote_code=False,
                )
                extractor = AutoFeatureExtractor.from_pretrained(place, trust_remote_code=False).to_dict()
        except OSError as error:
            raise MissingError(
                f"{source}: no model for audio classification of transformers {transformers.__version__} with its "
                f"feature extractor ({first_line(error)}); give a folder with config.json, model.safetensors and "
                "preprocessor_config.json, or a name on the hub"
            ) from error
        except Exception as error:  # damaged weights, odd settings and missing packages have no common type
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"{source}: cannot be loaded by transformers ({reason})") from error
        if report["missing_keys"] or report["mismatched_keys"]:
            lacking = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
            raise UserError(
                f"{source}: {len(lacking)} weights are missing or of another size ({', '.join(lacking[:3])}): "
                "expected a model that was trained to classify, with its head"
            )
        config = model.config
        if labels is None:
            if sorted(config.id2label) != list(range(config.num_labels)):
                raise UserError(
                    f"{source}: id2label has the indices {sorted(config.id2label)}, expected 0 to "
                    f"{config.num_labels - 1}: mend config.json, or give labels"
                )
            labels = [config.id2label[index] for index in range(config.num_labels)]
        if len(labels) != config.num_labels:
            raise UserError(f"{source}: got {len(labels)} class names, expected {config.num_labels}: one a logit")
        if task is None:
            task = "multi" if config.problem_type == "multi_label_classification" else "single"
        kind = extractor.get("feature_extractor_type")
        known = EXTRACTORS[kind].DEFAULTS if kind in EXTRACTORS else {}
        described = {"feature_extractor_type": kind} | {key: extractor[key] for key in known if key in extractor}
        rate = described.get("sampling_rate", known.get("sampling_rate", 16000))
        return cls(
            labels,
            frontend_for(rate, level),
            task,
            model=model,
            config=known_settings(config.to_diff_dict()),
            extractor=described,
            layers=layers,
            scale=scale,
        )

    @property
    def extractor(self) -> Extractor:
        """The feature extractor."""
        return self._extractor[0]

    @property
    def takes_lengths(self) -> bool:
        """Whether the input has a fixed size: then padding is the model's own, and clips of all lengths run at once."""
        return self.extractor.longest is not None

    def _apply(self, function, *args, **kwargs):
        self.extractor._apply(function, *args, **kwargs)
        return super()._apply(function, *args, **kwargs)

    def logits_of(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """See :meth:`WaveformClassifier.logits_of`."""
        missing = self._shortest() - wavs.shape[1]
        wavs = functional.pad(wavs, (0, max(0, missing)))
        arguments = self.extractor(wavs, lengths)
        dtype = next(self.module.parameters()).dtype
        arguments = {key: value.to(dtype) if value.is_floating_point() else value for key, value in arguments.items()}
        return self.module(**arguments, return_dict=True).logits

    def hear(self, wavs: Tensor, lengths: Tensor, n_frames: int) -> ClassifierOutput:
        """See :meth:`WaveformClassifier.hear`."""
        longest = self.extractor.longest
        if (
            longest is not None
            and not self._warned
            and int(lengths.max()) > longest + self.frontend.settings.hop_length
        ):
            self._warned = True
            logger.warning(
                "%s hears %.4g s: of longer clips the first part, and nothing of the rest",
                type(self.module).__name__,
                longest / self.extractor.sample_rate,
            )
        return super().hear(wavs, lengths, n_frames)

    # ---------------------------------------------------------------------------------------------------- attention

    def hear_together(self, wavs: Tensor, lengths: Tensor) -> ClassifierOutput:
        """See :meth:`WaveformClassifier.hear_together`; with AST's attention, where somebody may look at it."""
        if not self.ACTIVATIONS or self.training:
            return super().hear_together(wavs, lengths)
        with self._watching_attention(lambda weights: weights[:, :, :2, 2:].mean((1, 2))) as layers:
            output = super().hear_together(wavs, lengths)
        n_frames = self.frontend.n_frames(wavs.shape[1])
        output.attention = self._on_patches(torch.stack(layers, dim=1), n_frames)
        return output

    def activation_map(
        self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor, variant: str = "last"
    ) -> ActivationMap:
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
            return super().activation_map(spectrogram, output, target, variant)
        self.check_activation(variant)
        wavs = self.frontend.resynthesise(spectrogram, spectrogram.magnitude).detach()
        # One by one: what attends to what, in every head of every layer, takes much memory.
        found = torch.cat(
            [
                self._relevance(clip, length, goal) if variant == "gradient" else self._rollout(clip, length)
                for clip, length, goal in zip(wavs.split(1), spectrogram.lengths.split(1), target.split(1), strict=True)
            ]
        )  # [B, patches]
        grid, rows = self._last_level(spectrogram)
        values = self._on_patches(found[:, None], spectrogram.magnitude.shape[1])[:, 0]
        return ActivationMap(values * rows[..., None], grid, rows)

    @torch.no_grad()
    def _rollout(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        with self._watching_attention(lambda weights: weights.mean(1)) as layers:
            self._checked_logits(wavs, lengths)
        return rollout(layers)[:, :2, 2:].mean(1)

    def _relevance(self, wavs: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        with torch.enable_grad(), self._watching_attention(lambda weights: weights) as layers:
            # Something has to want a gradient: the parameters of a frozen classifier do not.
            logits = self._checked_logits(wavs.requires_grad_(), lengths)
            gradients = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), layers)
        with torch.no_grad():
            return relevance([weights.detach() for weights in layers], gradients)[:, :2, 2:].mean(1)

    def _on_patches(self, values: Tensor, n_frames: int) -> Tensor:
        """Bring values [b, L, patches] to AST's feature maps' grid [b, L, T', F']."""
        maps = values.unflatten(2, ast_patches(self.module.config)).transpose(2, 3)
        return self.fit_rows(self.layers[-1], maps, n_frames)

    def check_activation(self, variant: str) -> None:
        """See :meth:`Classifier.check_activation`; attention has to be eager, too."""
        super().check_activation(variant)
        self._check_attention()

    def _check_attention(self) -> None:
        """Refuse kinds of attention that do not give their weights."""
        check_eager(self.module, "the model's", "module")

    def _watching_attention(self, keep: Callable[[Tensor], Tensor]) -> AbstractContextManager[list]:
        """Collect something of every layer's attention weights [n, heads, tokens, tokens]."""
        self._check_attention()
        modules = dict(self.module.named_modules())
        return watching((modules[f"{name}.attention"] for name in self._blocks()), lambda output: keep(output[1]))

    # ------------------------------------------------------------------------------------------------- feature maps

    def default_layers(self, layers: Sequence[FeatureLayer]) -> list[str]:
        """Four evenly spaced blocks of the transformer, the last one among them."""
        blocks = self._blocks()
        return evenly_spaced(blocks, DEFAULT_LAYERS) if blocks else super().default_layers(layers)

    def find_layer(self, name: str, shapes: Sequence[tuple[int, ...]]) -> FeatureLayer | None:
        """See :meth:`WaveformClassifier.find_layer`; where the input has a fixed size, its size tells the axes."""
        config, shape = self.module.config, shapes[0]
        if config.model_type == AST:
            bands, steps = ast_patches(config)
            stride, centre = self._patch_place()
            place = {"stride": stride, "start": centre, "centre": centre, "columns": bands}
            if len(shape) == 3 and shape[1] in (bands * steps, bands * steps + 2):
                return FeatureLayer(name, "tokens", shape[2], **place)
            if len(shape) == 4 and shape[2:] == (bands, steps):
                return FeatureLayer(name, "BCFT", shape[1], **place)
            return None
        if config.model_type == WHISPER:
            steps = config.max_source_positions
            for axis, axes in ((1, "BTC"), (2, "BCT")):
                if len(shape) == 3 and shape[axis] in (steps, 2 * steps):
                    stride = self.extractor.hop * 2 * steps // shape[axis]
                    return FeatureLayer(name, axes, shape[3 - axis], 1, float(stride), 0.0, 0.0)
            return None
        return super().find_layer(name, shapes)

    def measure(self, layers: Sequence[FeatureLayer]) -> list[FeatureLayer]:
        """See :meth:`WaveformClassifier.measure`; known where the input has a fixed size."""
        return list(layers) if self.takes_lengths else super().measure(layers)

    def as_map(self, layer: FeatureLayer, raw: Tensor) -> Tensor:
        """See :meth:`WaveformClassifier.as_map`; AST's tokens run over time first, then over frequency."""
        if layer.axes != "tokens":
            return super().as_map(layer, raw)
        bands, steps = ast_patches(self.module.config)
        patches = raw[:, raw.shape[1] - bands * steps :]  # without the class and the distillation token
        return patches.unflatten(1, (bands, steps)).permute(0, 3, 2, 1)  # [B, D, T', F']

    def fit_rows(self, layer: FeatureLayer, maps: Tensor, n_frames: int) -> Tensor:
        """See :meth:`WaveformClassifier.fit_rows`; beyond what a model of fixed size hears there are zeros."""
        if not self.takes_lengths:
            return super().fit_rows(layer, maps, n_frames)
        wanted = layer.rows(n_frames, self.frontend.settings.hop_length)
        # The last half patch has no row of its own: it has that of the last patch.
        heard = math.floor((self.extractor.longest - layer.centre) / layer.stride) + 1
        held = max(0, min(wanted, heard) - maps.shape[2])
        maps = torch.cat([maps[:, :, :wanted], maps[:, :, -1:].expand(-1, -1, held, -1)], dim=2)
        return functional.pad(maps, (0, 0, 0, wanted - maps.shape[2]))

    def columns(self, layer: FeatureLayer) -> Tensor:
        """See :meth:`WaveformClassifier.columns`; AST's patches lie in the middle of their mel bands."""
        config = self.module.config
        if config.model_type != AST or layer.columns == 1:
            return super().columns(layer)
        places = torch.arange(layer.columns) * config.frequency_stride + (config.patch_size - 1) / 2
        centres = self.extractor.mel_centres()
        below = places.floor().long().clamp(max=len(centres) - 2)
        return self._bins(torch.lerp(centres[below], centres[below + 1], places.double() - below))

    def input_grid(self, n_frames: int) -> Grid:
        """Return the grid of the model's own log-mel spectrogram, or see :meth:`WaveformClassifier.input_grid`."""
        if not isinstance(self.extractor, AstExtractor):
            return super().input_grid(n_frames)
        rows, hop = self.feature_rows(n_frames)[0], self.frontend.settings.hop_length
        layer = self._fbank()
        frames = (layer.centre + layer.stride * torch.arange(rows, dtype=torch.float64)) / hop
        return Grid(frames, self._bins(self.extractor.mel_centres()))

    def feature_rows(self, n_frames: int | Tensor) -> tuple[int | Tensor, ...]:
        """See :meth:`Classifier.feature_rows`."""
        rows = super().feature_rows(n_frames)
        if not isinstance(self.extractor, AstExtractor):
            return rows
        return (self._fbank().rows(n_frames, self.frontend.settings.hop_length), *rows[1:])

    def _layers(self, wanted: Sequence[str | Mapping] | None) -> tuple[FeatureLayer, ...]:
        """Find the layers; the model need not be run where they are blocks of a transformer of a well-known type."""
        blocks = self._blocks()
        names = evenly_spaced(blocks, DEFAULT_LAYERS) if wanted is None else list(wanted)
        known = [self._block(name) for name in names if isinstance(name, str) and name in blocks]
        if not names or len(known) < len(names) or None in known or len(set(names)) < len(names):
            return super()._layers(wanted)
        return tuple(sorted(known, key=lambda layer: blocks.index(layer.name)))

    def _blocks(self) -> list[str]:
        """Return the names of the transformer's blocks, first to last."""
        stacks = [
            [f"{name}.{index}" for index in range(len(module))]
            for name, module in self.module.named_modules()
            # Some have a stack of convolutions of that name, too, for positions.
            if isinstance(module, nn.ModuleList) and name.split(".")[-1] == "layers" and "pos_conv_embed" not in name
        ]
        return max(stacks, key=len, default=[])

    def _block(self, name: str) -> FeatureLayer | None:
        """Return what is known of a block's output without running the model; None where nothing is."""
        config = self.module.config
        if config.model_type == AST:
            bands, steps = ast_patches(config)
            return self.find_layer(name, [(1, bands * steps + 2, config.hidden_size)])
        if config.model_type == WHISPER:
            return self.find_layer(name, [(1, config.max_source_positions, config.d_model)])
        if config.model_type in PLAIN:
            start = float(self._shortest())
            stride = float(math.prod(config.conv_stride))
            return FeatureLayer(name, "BTC", config.hidden_size, 1, stride, start, start / 2)
        return None

    def _fbank(self) -> FeatureLayer:
        """Return where the frames of AST's own features lie."""
        features = self.extractor
        centre = (features.window_length - 1) / 2
        return FeatureLayer("", "", 1, features.settings["num_mel_bins"], float(features.hop), centre, centre)

    def _patch_place(self) -> tuple[float, float]:
        """Return the stride of AST's patches, and the centre of the first one, in samples."""
        config, features = self.module.config, self.extractor
        centre = (config.patch_size - 1) / 2 * features.hop + (features.window_length - 1) / 2
        return float(config.time_stride * features.hop), centre

    def _bins(self, hertz: Tensor) -> Tensor:
        settings = self.frontend.settings
        return hertz * settings.n_fft / settings.sample_rate

    def _shortest(self) -> int:
        """Return the samples that the convolutions on the waveform need for one row; transformers refuses fewer."""
        config = self.module.config
        if not isinstance(self.extractor, RawExtractor):
            return 1
        needed = 1
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            needed = (needed - 1) * stride + kernel
        return needed


def ast_patches(config) -> tuple[int, int]:
    """Return the patches of an AST's configuration in frequency and in time."""
    bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    steps = (config.max_length - config.patch_size) // config.time_stride + 1
    return bands, steps


def default_extractor(model_type: str) -> str:
    """Return the class of feature extractor that a type of model has where nothing says so."""
    special = {AST: AstExtractor, WHISPER: WhisperExtractor, "wav2vec2-bert": None}
    kind = special.get(model_type, RawExtractor)
    return "SeamlessM4TFeatureExtractor" if kind is None else kind.KIND


def configuration(settings: Mapping, labels: Sequence[str], task: str):
    """Return transformers' configuration of a model; a :class:`UserError` for unknown types and settings."""
    from huggingface_hub.errors import StrictDataclassError
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
    try:
        return AutoConfig.for_model(
            kind,
            **settings,
            id2label=names,
            label2id={name: index for index, name in names.items()},
            problem_type=problem,
        )
    except (StrictDataclassError, ValueError, TypeError) as error:
        raise UserError(f"config: {kind} refuses its settings ({' '.join(str(error).split())[:200]})") from error


def known_settings(settings: Mapping) -> dict:
    """Return those settings of a saved configuration that shape a model, and that this transformers knows."""
    from transformers import AutoConfig

    default = AutoConfig.for_model(settings["model_type"])
    return {
        key: value
        for key, value in settings.items()
        if key not in NOT_ARCHITECTURE and (key == "model_type" or hasattr(default, key))
    }


def build_model(config) -> nn.Module:
    """Build the model of a configuration with random weights and eager attention."""
    from transformers import AutoModelForAudioClassification

    try:
        return AutoModelForAudioClassification.from_config(config, attn_implementation="eager")
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        raise UserError(f"config: no {config.model_type} can be built of it ({first_line(error)})") from error


def _complete(kind: str, settings: Mapping, config) -> dict:
    """Fill in of an extractor's settings what follows from the configuration."""
    follows = {}
    if kind == AstExtractor.KIND and config.model_type == AST:
        follows = {"num_mel_bins": config.num_mel_bins, "max_length": config.max_length}
    elif kind == WhisperExtractor.KIND and config.model_type == WHISPER:
        hop = settings.get("hop_length", WhisperExtractor.DEFAULTS["hop_length"])
        rate = settings.get("sampling_rate", WhisperExtractor.DEFAULTS["sampling_rate"])
        seconds = 2 * config.max_source_positions * hop / rate
        follows = {"feature_size": config.num_mel_bins, "chunk_length": math.floor(seconds)}
    return {**follows, **settings}


def _check_fit(features: Extractor, config) -> None:
    """Refuse an extractor that does not give what the model takes."""
    expected = {AST: AstExtractor, WHISPER: WhisperExtractor}.get(config.model_type, RawExtractor)
    if not isinstance(features, expected):
        raise UserError(f"a {config.model_type} takes features of {expected.KIND}, got {features.KIND}")
    if config.model_type == AST:
        given = (features.settings["max_length"], features.settings["num_mel_bins"])
        wanted = (config.max_length, config.num_mel_bins)
    elif config.model_type == WHISPER:
        given = (features.longest / features.hop, features.settings["feature_size"])
        wanted = (2 * config.max_source_positions, config.num_mel_bins)
    else:
        return
    if given != wanted:
        raise UserError(
            f"the feature extractor gives {given[0]:g} frames of {given[1]} bands, the model takes {wanted[0]} of "
            f"{wanted[1]}: change config or extractor"
        )
