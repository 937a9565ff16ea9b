"""Dequantized rows: the counts below them, and new noise at each look."""

import torch

import pyro_flows as pf


def test_rows_are_counts_plus_new_noise():
    counts = torch.arange(12, dtype=torch.uint8).reshape(4, 3)
    rows = pf.datasets.Dequantized(counts)
    assert len(rows) == 4
    for _ in range(20):
        row = rows[2]
        assert torch.equal(row.floor().to(torch.uint8), counts[2])
        assert not torch.equal(row, rows[2])


def test_fit_takes_it():
    flow = pf.Flow(pf.real_nvp(3, depth=2, hidden=(8,)))
    rows = pf.datasets.Dequantized(torch.randint(0, 3, (100, 3)))
    history = pf.fit(flow, rows, epochs=2, batch_size=50, progress=False)
    assert len(history.val_loss) == 2
