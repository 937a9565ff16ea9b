"""Partitions: both parts, put back together, are the event; each element is in one part."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_flows.partitions import Alternating, Channels, Checkerboard, CheckerboardDepth, Halves, Mask

sizes = st.integers(2, 9)
batches = st.lists(st.integers(0, 3), max_size=2).map(tuple)
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@st.composite
def masks(draw):
    shape = draw(shapes.filter(lambda s: torch.Size(s).numel() >= 2))
    count = torch.Size(shape).numel()
    values = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    values[0], values[-1] = draw(st.sampled_from([(True, False), (False, True)]))
    return torch.tensor(values).reshape(shape)


def _check(partition, batch):
    shape = partition.event_shape
    y = torch.arange(shape.numel()).reshape(shape).expand(*batch, *shape).contiguous()
    passive, active = partition.split(y)
    assert passive.shape == (*batch, *partition.passive_shape)
    assert active.shape == (*batch, *partition.active_shape)
    assert torch.equal(partition.merge(passive, active), y)
    if 0 not in batch:
        first = torch.cat([part.flatten(len(batch)) for part in (passive, active)], -1)
        first = first.reshape(-1, shape.numel())[0]
        assert sorted(first.tolist()) == list(range(shape.numel()))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(kind=st.sampled_from([Halves, Alternating]), size=sizes, swap=st.booleans(), batch=batches)
def test_halves_and_alternating(kind, size, swap, batch):
    partition = kind(size, swap=swap)
    _check(partition, batch)
    other = kind(size, swap=not swap)
    y = torch.randn(size)
    assert torch.equal(partition.split(y)[0], other.split(y)[1])


@settings(deadline=None, derandomize=True, max_examples=40)
@given(mask=masks(), batch=batches)
def test_masks(mask, batch):
    partition = Mask(mask)
    _check(partition, batch)
    y = torch.randn(mask.shape)
    passive, active = partition.split(y)
    assert torch.equal(passive, y[mask])
    assert torch.equal(active, y[~mask])


def test_merge_takes_new_values_to_their_places():
    for partition in (
        Halves(5),
        Alternating(5, swap=True),
        Mask(torch.tensor([True, False, True, False, False])),
    ):
        y = torch.randn(4, 5)
        passive, active = partition.split(y)
        merged = partition.merge(passive, active + 1)
        unchanged, changed = partition.split(merged)
        assert torch.equal(unchanged, passive)
        assert torch.equal(changed, active + 1)


def test_the_reading_half_is_named():
    y = torch.arange(5)
    assert Halves(5).split(y)[0].tolist() == [0, 1, 2]
    assert Halves(5, swap=True).split(y)[0].tolist() == [3, 4]
    assert Alternating(5).split(y)[0].tolist() == [0, 2, 4]
    assert Alternating(5, swap=True).split(y)[0].tolist() == [1, 3]


def test_masks_move_and_save_with_the_module():
    partition = Mask(torch.tensor([True, False, False]))
    assert all(value.device.type == "meta" for value in partition.to("meta").state_dict().values())
    new = Mask(torch.tensor([False, False, True]))
    new.load_state_dict(Mask(torch.tensor([True, False, False])).state_dict())
    assert new.split(torch.arange(3))[0].tolist() == [0]


def test_errors():
    for kind in (Halves, Alternating):
        with pytest.raises(ValueError, match="at least 2"):
            kind(1)
    with pytest.raises(TypeError, match="boolean"):
        Mask(torch.tensor([0, 1]))
    for mask in (torch.tensor([True, True]), torch.tensor([False, False]), torch.tensor(True)):
        with pytest.raises(ValueError, match="expected"):
            Mask(mask)


images = st.tuples(st.integers(2, 3), st.sampled_from([2, 4]), st.sampled_from([2, 6]))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    kind=st.sampled_from([Channels, Checkerboard, CheckerboardDepth]),
    shape=images,
    swap=st.booleans(),
    batch=batches,
    known=st.booleans(),
)
def test_images(kind, shape, swap, batch, known):
    partition = kind(shape, swap=swap)
    _check(partition, batch)
    y = torch.randn(*batch, *shape)
    any_size, other = kind(swap=swap), kind(shape if known else None, swap=not swap)
    for ours, theirs in zip(partition.split(y), any_size.split(y), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(partition.split(y)[0], other.split(y)[1])
    assert other.mirrors(partition) == known
    assert not partition.mirrors(kind(shape, swap=swap))


def test_checkerboards_by_hand():
    y = torch.tensor([[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]])
    rows = [[[0, 2], [5, 7], [8, 10], [13, 15]]], [[[1, 3], [4, 6], [9, 11], [12, 14]]]
    assert [side.tolist() for side in Checkerboard().split(y)] == list(rows)
    first = [[[0, 2], [8, 10]], [[5, 7], [13, 15]]]
    second = [[[1, 3], [9, 11]], [[4, 6], [12, 14]]]
    assert [side.tolist() for side in CheckerboardDepth().split(y)] == [first, second]


@pytest.mark.parametrize("kind", [Checkerboard, CheckerboardDepth])
def test_odd_images_name_the_padding(kind):
    for make in (lambda: kind((1, 7, 8)), lambda: kind().split(torch.zeros(1, 7, 8))):
        with pytest.raises(ValueError, match=r"pad to \(1, 8, 8\)"):
            make()


def test_one_channel_cannot_be_cut():
    with pytest.raises(ValueError, match="at least 2 channels"):
        Channels((1, 4, 4))
