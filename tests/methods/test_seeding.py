"""The generators that Captum draws from: seeded for a while, and restored."""

import numpy as np
import torch

from interpretability.methods.seeding import seeded


def test_captum_draws_from_a_seed_and_the_generator_is_restored():
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(2), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    with seeded(3, torch.device("cpu")):
        first = torch.rand(2), np.random.rand()
    assert torch.equal(torch.rand(2), expected[0])
    assert np.random.rand() == expected[1]
    with seeded(3, torch.device("cpu")):
        assert torch.equal(torch.rand(2), first[0])
        assert np.random.rand() == first[1]
