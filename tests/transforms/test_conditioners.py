"""What every layer with a conditioner accepts of it."""

import pytest
import torch

import pyro_flows as pf
from pyro_flows import transforms as tr


def _flat(shape):
    """A conditioner whose output has the parameters' dimensions merged into one, of a coarse dtype."""
    return lambda *inputs: torch.ones(
        (*inputs[0].shape[:-1], torch.Size(shape).numel()), dtype=torch.bfloat16
    )


class _Call(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def _layers(make):
    """Every layer that calls a conditioner, with one that gives (a merged) so many values."""
    g = pf.elementwise.Affine()
    yield tr.Coupling(pf.partitions.Halves(4), g, _Call(make((2, 2)))), None
    yield tr.Autoregressive(g, _Call(make((2, 3))), [0, 1, 2]), None
    yield tr.Monotone(g, (3,), _Call(make((2, 3))), context_dim=2), torch.randn(5, 2)
    yield tr.Planar(3, _Call(make((7,))), context_dim=2), torch.randn(5, 2)
    yield tr.Radial(3, _Call(make((5,))), context_dim=2), torch.randn(5, 2)


def test_conditioners_may_merge_dimensions_and_be_coarse():
    for layer, context in _layers(_flat):
        x = torch.randn(5, layer.domain_shape[0])
        y, log_det = layer.forward_and_log_det(x, context)
        assert (y.dtype, log_det.shape) == (torch.float32, (5,))
        torch.testing.assert_close(layer.inverse_and_log_det(y, context)[0], x)


def test_conditioners_that_give_another_number_of_values_are_named():
    for layer, context in _layers(lambda shape: _flat((*shape, 2))):
        with pytest.raises(ValueError, match=r"expected the conditioner to give \(.*\) values an event; got"):
            layer.forward_and_log_det(torch.randn(5, layer.domain_shape[0]), context)


def test_conditioners_that_need_a_context_say_so():
    for layer, context in _layers(_flat):
        if context is not None:
            with pytest.raises(ValueError, match=r"expected a context; got none: use .condition\(context\)"):
                layer.forward_and_log_det(torch.randn(5, 3))
