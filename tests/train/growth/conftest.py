"""Real data for effects in miniature: scikit-learn's digits."""

import pytest
import torch


@pytest.fixture(scope="session")
def digits():
    """Images between 0 and 1, and labels: 1200 to learn from, then 597 to test with."""
    images, labels = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return (torch.tensor(images, dtype=torch.float32) / 16)[order], torch.tensor(labels)[order]
