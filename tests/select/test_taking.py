"""Rows of a selected tensor: the same bits whatever the ranges they are asked for in, and whatever pieces the source is in."""

import pytest
import torch

import scionwood
from scionwood.anatomy import AxisMap
from scionwood.anatomy.layout import Slot
from scionwood.checkpoint.tensor import MemoryTensor
from scionwood.verbs import importance
from scionwood.verbs.taking import Taking, holds, within


@pytest.mark.parametrize("family", ["gpt2", "mixtral", "deepseek", "resnet"])
def test_rows_are_rows_of_the_whole(family, drawn, larger, smaller, model_of):
    for source in (drawn(family), model_of(larger(family))):
        made = scionwood.select(source, like=smaller(family), method="random", rescale="variance")
        for name, tensor in made.tensors.items():
            whole = made[name]
            count = len(whole) if tensor.shape else 0
            for start in range(0, count, max(1, count // 3)):
                stop = min(start + 3, count)
                assert torch.equal(tensor.read(start, stop), whole[start:stop]), name


def test_magnitudes_are_the_same_in_pieces(drawn, smaller, same, monkeypatch):
    at_once = scionwood.select(drawn("mixtral"), like=smaller("mixtral"), method="magnitude")
    at_once = {name: at_once[name] for name in at_once}
    monkeypatch.setattr(importance, "TILE", 1)
    in_pieces = scionwood.select(drawn("mixtral"), like=smaller("mixtral"), method="magnitude")
    assert same(at_once, in_pieces)


def test_a_tensor_in_pieces_is_put_together():
    """Two experts apart on disk, transposed there, wanted as one tensor: (expert, out, in)."""
    whole = torch.arange(24.0).view(2, 3, 4)
    boxes = [Slot(f"expert.{number}", "experts", (number, 0, 0), (1, 3, 4), (2, 1)) for number in (0, 1)]
    stored = [MemoryTensor(box.name, whole[number].T.contiguous()) for number, box in enumerate(boxes)]
    maps = [AxisMap.select([1, 0], 2), AxisMap.select([0, 2], 3), AxisMap.select([1, 3], 4, gain=2.0)]
    wanted = Slot("experts", "experts", (0, 0, 0), (2, 2, 2), (0, 1, 2))
    expected = whole[[1, 0]][:, [0, 2]][:, :, [1, 3]] * 2
    taking = Taking(wanted, boxes, stored, maps)
    assert torch.equal(taking(0, 2), expected)
    assert torch.equal(taking(1, 2), expected[1:])
    assert not any(holds(box, maps) for box in boxes)


def test_one_piece_is_enough_where_it_holds_all():
    box = Slot("expert.1", "experts", (1, 0, 0), (1, 3, 4), (1, 2))
    maps = [AxisMap.select([1], 2), AxisMap.select([2, 0], 3), AxisMap.identity(4)]
    assert holds(box, maps)
    assert not holds(box, [AxisMap.select([0], 2), *maps[1:]])
    local = within(box, maps)
    assert local[0].is_identity
    assert local[1].index.tolist() == [2, 0]
    stored = MemoryTensor("expert.1", torch.arange(12.0).view(3, 4))
    taking = Taking(Slot("expert.0", "experts", (0, 0, 0), (1, 2, 4), (1, 2)), [box], [stored], maps)
    assert torch.equal(taking(0, 2), stored.tensor[[2, 0]])
    assert torch.equal(taking(1, 2), stored.tensor[[0]])
