"""The amortised factorisation: its start, its loss and gradient by hand, padding, unused components."""

import pytest
import torch
from tiny import SMALL, uniform
from torch.nn import functional

from interpretability.dictionary import AmortisedFactorisation, DictionarySettings
from interpretability.errors import UserError

F = SMALL.n_bins


def make(n_components, **settings):
    return AmortisedFactorisation(SMALL, DictionarySettings("amortised", n_components, **settings))


def test_it_can_begin_at_frames_of_the_data():
    spectra = uniform(40, F) ** 4
    spectra[:, 3] = 0
    network = make(5)
    network.start_from(spectra, seed=2)
    cosines = network.matrix().detach().T @ functional.normalize(spectra.T, dim=0)
    assert cosines.amax(0).topk(5).values.min() > 0.99
    with pytest.raises(UserError, match="there are 4 frames"):
        network.start_from(spectra[:4])


def test_no_component_dies_for_good():
    network = make(3, hidden=(8, 8))
    with torch.no_grad():
        network.encoder[-1].weight.zero_()
        network.encoder[-1].bias.copy_(torch.tensor([-1.0, -1.0, 0.01]))
    spectra, valid = uniform(1, 9, F) + 0.1, torch.ones(1, 9, dtype=torch.bool)
    factorised = network(spectra, valid)
    assert not factorised.activations[0, :2].any()
    network.objective(factorised, spectra, valid)["loss"].mean().backward()
    assert (network.encoder[-1].bias.grad < 0).all()  # a step of descent raises all three
    # Where less is wanted, what is off stays as it is.
    network.zero_grad()
    network(spectra, valid).activations.sum().backward()
    assert network.encoder[-1].bias.grad[:2].tolist() == [0.0, 0.0]
    assert network.encoder[-1].bias.grad[2] > 0


def test_loss_by_hand_and_padding():
    torch.manual_seed(0)
    network = make(5, sparsity=0.3, hidden=(8, 8))
    spectra = uniform(2, 9, F)
    valid = torch.ones(2, 9, dtype=torch.bool)
    valid[1, 6:] = False
    spectra[1, 6:] = 0
    with torch.no_grad():
        factorised = network(spectra, valid)
        terms = network.objective(factorised, spectra, valid)
        alone = network(spectra[1:, :6], valid[1:, :6])
        expected = network.objective(alone, spectra[1:, :6], valid[1:, :6])
    torch.testing.assert_close(factorised.activations[1:, :, :6], alone.activations)
    assert not factorised.activations[1, :, 6:].any()
    for name in ("loss", "error", "activity"):
        torch.testing.assert_close(terms[name][1:], expected[name])
    error = (spectra[1, :6] - factorised.activations[1, :, :6].T @ network.matrix().detach().T).square().mean()
    assert float(terms["error"][1]) == pytest.approx(float(error), rel=1e-5)
    activity = factorised.activations[1, :, :6].mean()
    assert float(terms["loss"][1]) == pytest.approx(float(error + 0.3 * activity), rel=1e-5)


def test_unused_components_are_dropped(caplog):
    network = make(5)
    network.begin_validation()
    network.mark_in_use(torch.arange(5) < 3)
    network.mark_in_use(torch.arange(5) == 4)
    assert network.dictionary([]).n_components == 4
    assert "1 of 5 components" in caplog.text
    network.begin_validation()
    with pytest.raises(UserError, match="lower it"):
        network.dictionary([])
