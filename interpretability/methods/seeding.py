"""Random choices of Captum's, which draws from the global generators: the same for the same seed.

What else draws from these generators goes on as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators, from which Captum draws, while the block runs; they are restored afterwards."""
    state = np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else [], device_type="cuda"):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # GradientSHAP draws its points from NumPy's
        try:
            yield
        finally:
            np.random.set_state(state)
