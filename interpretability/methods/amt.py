"""AMT, activation-map thresholding (arXiv 2402.02754): what the classifier itself attends to. Nothing is trained.

A map from inside the classifier (attention of a transformer, modulation of a FocalNet) is brought to the spectrogram's
grid, and its highest values are kept: ``M = 1[a >= quantile_q(a)]``.
"""

from dataclasses import dataclass

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.explanation import Interpretation
from interpretability.grids import to_spectrogram_grid
from interpretability.methods.base import Interpreter, MethodSettings
from interpretability.metrics.areas import keep_top
from interpretability.metrics.ranking import rounded
from interpretability.metrics.sparsity import check_mask
from interpretability.settings import setting

#: Variants of the map that depend on the explained class; all others are the same for every class.
CLASS_SPECIFIC = ("gradient",)
CLASS_AGNOSTIC = "class-agnostic: the mask is the same whichever class is explained"


@dataclass(frozen=True)
class AMTSettings(MethodSettings):
    """Settings of :class:`AMT`."""

    variant: str = setting(
        "last",
        "map. last: of the last layer (published); mean: over layers; further ones depend on the classifier. "
        "gradient depends on the explained class, the others are the same for every class",
    )
    quantile: float = setting(
        0.8, "quantile of the map above which bins are kept: 0.8 keeps a fifth; published: 0.9", least=0, below=1
    )


class AMT(Interpreter):
    """Activation-map thresholding.

    The map ``a`` [B, T', F'] is interpolated linearly from the centres of its cells to [T, F]. Of the n valid bins of
    each clip exactly ``ceil((1 - quantile) * n)`` are kept, those with the highest values; of equal ones the earlier
    frames and lower bins (where the map is 0 in more bins than are left out, some of those are among them).

    A map that is constant up to rounding explains nothing: the clip's explanation is *undefined*, and its mask is 0. It
    is neither all ones, which a threshold would give, nor an explanation that keeps nothing.

    Parameters
    ----------
    classifier : Classifier
        One that gives maps: :attr:`Classifier.ACTIVATIONS` says which.
    **settings
        Of :class:`AMTSettings`.

    Raises
    ------
    UserError
        If the classifier has no such map, or a setting does not fit.
    """

    NAME = "amt"
    SUMMARY = "what the classifier itself attends to: attention or modulation"
    Settings = AMTSettings
    trainable = False

    def __init__(self, classifier: Classifier, **settings):
        super().__init__(classifier, **settings)
        classifier.check_activation(self.settings.variant)

    @classmethod
    def remark(cls, classifier: Classifier) -> str:
        """See :meth:`Interpreter.remark`."""
        variants = "|".join(classifier.ACTIVATIONS)
        return f"--settings variant={variants}" if variants else "unavailable: this classifier has no activation maps"

    @property
    def title(self) -> str:
        """See :attr:`Interpreter.title`."""
        return f"{self.NAME}, {self.settings.variant}"

    @property
    def classes_only(self) -> str:
        """See :attr:`Interpreter.classes_only`."""
        variant = self.settings.variant
        return f"variant={variant} follows the logit of a class" if variant in CLASS_SPECIFIC else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """See :attr:`Interpreter.notes`."""
        return (*super().notes, *(() if self.settings.variant in CLASS_SPECIFIC else (CLASS_AGNOSTIC,)))

    @property
    def fixed_metrics(self) -> tuple[str, ...]:
        """See :attr:`Interpreter.fixed_metrics`: the share of the bins that is kept is known beforehand."""
        return ("sps", "comp", "comp_rel")

    def interpret(self, batch: AnalysedBatch) -> Interpretation:
        """See :meth:`Interpreter.interpret`.

        Raises
        ------
        ValueError
            If the classifier's map is not finite.
        """
        variant, spectrogram = self.settings.variant, batch.spectrogram
        activation = self.classifier.activation_map(batch, variant)
        n_frames, n_bins = spectrogram.magnitude.shape[1:]
        # Where the map is flat, beyond its outermost centres, bins are tied, and rounding does not choose among them.
        scores = to_spectrogram_grid(
            activation.values.detach().double(), activation.grid, n_frames, n_bins, activation.rows
        )
        check_mask(scores, name=f"the activation map {variant!r}")
        ranked, outside = rounded(scores, spectrogram.valid, relative=True), ~spectrogram.valid[..., None]
        low = ranked.masked_fill(outside, float("inf")).amin((1, 2))
        undefined = ranked.masked_fill(outside, -float("inf")).amax((1, 2)) == low  # [B]
        mask = keep_top(scores, spectrogram.valid, 1 - self.settings.quantile)
        mask = mask.masked_fill(undefined[:, None, None], 0).to(spectrogram.magnitude.dtype)
        return Interpretation(mask, undefined=undefined)
