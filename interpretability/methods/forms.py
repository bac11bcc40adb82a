"""Forms of a mask that is made from an attribution: the attribution itself, or the bins where it is highest."""

from torch import Tensor

from interpretability.metrics.areas import keep_top

#: Form of the mask -> kept area; None: the attribution itself.
FORMS = {"soft": None, "top10": 0.1, "top20": 0.2}
#: What the setting ``form`` says.
MEANING = "soft: the attribution's positive part; top10, top20: the 10 or 20 % of the bins with the highest attribution"


def form_mask(attribution: Tensor, valid: Tensor, form: str) -> Tensor:
    """Return the mask of an attribution.

    - ``soft``: the attribution's positive part divided by its largest value in the clip;
    - ``top10``, ``top20``: ones on exactly 10 or 20 % of the clip's bins, those with the highest attribution (if fewer
      than that count for the class, the rest are those that count least against it).

    A clip whose attribution is 0 everywhere has an all-zero mask.

    Parameters
    ----------
    attribution : Tensor [B, T, F]
        Signed; 0 in frames that are not valid.
    valid : Tensor [B, T], bool
    form : str
        One of :data:`FORMS`.

    Returns
    -------
    Tensor [B, T, F]
        In [0, 1].
    """
    area = FORMS[form]
    if area is None:
        positive = attribution.clamp(min=0)
        largest = positive.amax((1, 2), keepdim=True)
        return positive / largest.masked_fill(largest == 0, 1)
    return keep_top(attribution, valid, area) * attribution.any(2).any(1)[:, None, None]


def fixed_by(form: str) -> tuple[str, ...]:
    """Return the metrics that a form alone decides: a thresholded map keeps a number of bins known beforehand."""
    return () if FORMS[form] is None else ("sps", "comp", "comp_rel")
