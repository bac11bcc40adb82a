"""Grad-CAM (arXiv 1610.02391): which cells of a layer's maps speak for the score, each channel by its mean gradient.

Captum's ``LayerGradCam`` takes the second axis of what a layer returns for the channels. Here the classifier says which
axis it is, so that it works on transformers, too; where it is the second one, both give the same.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from interpretability.classifiers.base import Classifier
from interpretability.classifiers.hooks import recorded_outputs
from interpretability.classifiers.layers import map_of
from interpretability.classifiers.observed import ObservedLayer
from interpretability.errors import UserError
from interpretability.grids import to_spectrogram_grid


def class_activation(score: Callable[[], Tensor], layer: ObservedLayer, size: tuple[int, int]) -> Tensor:
    """Return the Grad-CAM of one clip on the spectrogram's grid, signed.

    Parameters
    ----------
    score : callable
        Runs the classifier and returns the score [1], from an input that requires a gradient.
    layer : ObservedLayer
    size : tuple of int
        T and F of the clip's spectrogram.

    Returns
    -------
    Tensor [1, T, F]
        Sum over channels of mean gradient times activation, interpolated from the centres of the layer's cells.

    Raises
    ------
    UserError
        If the score does not depend on the layer's output.
    """
    observed = maps_and_slopes(score, layer)
    if observed is None:
        raise UserError(f"the score does not depend on the output of the layer {layer.name!r}: name another layer")
    maps, slopes = observed
    cells = (slopes.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True)  # [n, 1, rows, columns]
    joined = layer.join(cells, size[0])[:, 0].double()  # [1, T', F']
    return to_spectrogram_grid(joined, layer.grid(size[0]), *size)


def maps_and_slopes(score: Callable[[], Tensor], layer: ObservedLayer) -> tuple[Tensor, Tensor] | None:
    """Return the maps [n, C, rows, columns] of a layer and the score's gradient to them; None if there is none."""
    with recorded_outputs({layer.name: layer.module}, map_of) as recorded:
        value = score()
    output = recorded.get(layer.name)
    if output is None or not output.requires_grad:
        return None
    (slope,) = torch.autograd.grad(value.sum(), output, allow_unused=True)
    return None if slope is None else (layer.to_maps(output.detach()), layer.to_maps(slope))


def choose_layer(
    owner: str, classifier: Classifier, score: Callable[[], Tensor], wanted: str | None = None
) -> ObservedLayer:
    """Return the layer that is named, or the last feature map whose gradient is not 0 everywhere.

    Of a transformer that reads a class token alone, the last layer's patches have no effect: then it is the one before.

    Parameters
    ----------
    owner : str
        What is explained with it, in front of errors.
    classifier : Classifier
    score : callable
        As of :func:`class_activation`, of any sound.
    wanted : str, optional

    Raises
    ------
    UserError
        If there is no such layer, or none on which the score depends.
    """
    names = [wanted] if wanted is not None else list(reversed(classifier.layer_levels))
    if not names:
        why = classifier.obstacle() or "none of its layers is known to give a map over time"
        raise UserError(f"{owner} needs feature maps, and {classifier.title} has none ({why}): take saliency")
    for name in names:
        layer = classifier.observed_layer(name)
        observed = maps_and_slopes(score, layer)
        if observed is not None and bool(observed[1].any()):
            return layer
    which = f"layer {wanted!r}" if wanted is not None else "any of its layers that give feature maps"
    raise UserError(f"{owner}: the score of {classifier.title} does not depend on {which}: name another layer")
