"""Which bins rank equal, and which of equal ones come first: one rule for everything that ranks bins.

Values are compared after rounding to :data:`DECIMALS` decimals. What a batch of another size, or another CPU, adds in
single precision (some 1e-7) is then no difference between bins, and a plateau of a mask stays a plateau. Masks, which
lie in [0, 1], are rounded as they are. Scores of any other scale (magnitudes, attributions, activation maps) are first
divided by the largest absolute value among the clip's valid bins.

Equal bins count in equal shares where pairs or maxima are counted (AUROC, pointing game). Where some of them have to be
chosen (:func:`.keep_count`), earlier frames come first, and lower bins within a frame.
"""

import torch
from torch import Tensor

from interpretability.metrics.sparsity import hide_padding

#: Decimals that count when values are compared.
DECIMALS = 5


def rounded(values: Tensor, valid: Tensor | None = None, relative: bool = False) -> Tensor:
    """Return values as they are ranked: equal ones are ties.

    Parameters
    ----------
    values : Tensor [B, T, F]
        Finite on the valid bins.
    valid : Tensor [B, T] of bool, optional
        The frames that belong to the clip; all if not given.
    relative : bool
        Divide by the largest absolute value of each clip's valid bins first (by 1 if that is 0).

    Returns
    -------
    Tensor [B, T, F], float64
        In steps of 1e-5; what it holds in the padding has no meaning.

    Examples
    --------
    >>> rounded(torch.tensor([[[0.5, 0.5000002, 0.50002]]])).tolist()
    [[[0.5, 0.5, 0.50002]]]
    >>> rounded(torch.tensor([[[50.0, 50.00002, -200.0]]]), relative=True).tolist()
    [[[0.25, 0.25, -1.0]]]
    """
    values = values.detach().double()
    if relative:
        largest = hide_padding(values.abs(), valid).amax(dim=(1, 2), keepdim=True)  # [B, 1, 1]
        values = values / torch.where(largest > 0, largest, torch.ones_like(largest))
    return values.round(decimals=DECIMALS)
