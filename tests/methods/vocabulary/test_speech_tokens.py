"""Rows of speech tokens from the features of their frames."""

import pytest
import torch
from tests.methods.vocabulary.made import seeded, statuses, table_of

from scionwood.errors import MethodError
from scionwood.methods.vocabulary.speech_tokens import speech_tokens, trimmed
from scionwood.train.vocabulary import alignment_loss

NEW = slice(300, 345)


def speech(features=20, dim=32):
    """A text table of uneven dimensions, 45 units with frames and five without."""
    generator = seeded()
    table = torch.randn(300, dim, generator=generator) * torch.rand(dim, generator=generator) + 0.3
    overlap = torch.cat([torch.arange(300), torch.full((50,), -1)])
    units = torch.randint(300, 345, (3000,), generator=generator)
    frames = torch.randn(350, features, generator=generator)[units]
    return table, overlap, units, frames + 0.3 * torch.randn(frames.shape, generator=generator)


def cosines(rows):
    unit = torch.nn.functional.normalize(rows - rows.mean(0), dim=1)
    return (unit @ unit.T)[torch.ones(len(rows), len(rows)).triu(1) > 0]


def spearman(first, second):
    ranks = torch.stack([values.argsort().argsort().double() for values in (first, second)])
    return float(torch.corrcoef(ranks)[0, 1])


def means(units, frames):
    return torch.stack([frames[units == unit].mean(0) for unit in range(300, 345)])


def test_mean_and_spread_are_the_texts():
    table, overlap, units, frames = speech()
    made = table_of(speech_tokens(table, overlap, units, frames, seeded(), scale="dimension", trim=0.0), table)[NEW]
    torch.testing.assert_close(made.mean(0), table.mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(made.std(0), table.std(0), atol=1e-5, rtol=0)
    whole = table_of(speech_tokens(table, overlap, units, frames, seeded(), trim=0.0), table)[NEW]
    torch.testing.assert_close(whole.mean(0), table.mean(0), atol=1e-5, rtol=0)
    spread = lambda rows: (rows - rows.mean(0)).square().mean().sqrt()  # noqa: E731
    torch.testing.assert_close(spread(whole), spread(table), atol=1e-5, rtol=0)


def test_what_sounds_alike_starts_alike():
    table, overlap, units, frames = speech()
    wanted = cosines(means(units, frames))
    whole = table_of(speech_tokens(table, overlap, units, frames, seeded()), table)[NEW]
    assert spearman(cosines(whole), wanted) > 0.999
    stretched = table_of(speech_tokens(table, overlap, units, frames, seeded(), scale="dimension"), table)[NEW]
    assert 0.7 < spearman(cosines(stretched), wanted) < 0.999


def test_more_features_than_dimensions_keep_the_principal_ones():
    table, overlap, units, frames = speech(features=60, dim=16)
    made = table_of(speech_tokens(table, overlap, units, frames, seeded()), table)[NEW]
    assert spearman(cosines(made), cosines(means(units, frames))) > 0.7


def test_units_never_seen_are_drawn_and_text_is_copied():
    table, overlap, units, frames = speech()
    rows = speech_tokens(table, overlap, units, frames, seeded())
    assert statuses(rows) == {"copied": 300, "made": 45, "drawn": 5}
    assert torch.equal(table_of(rows, table)[:300], table)


def test_frames_without_a_unit_do_not_count():
    table, overlap, units, frames = speech()
    expected = table_of(speech_tokens(table, overlap, units, frames, seeded()), table)
    more = torch.cat([units, torch.full((7,), -1)]), torch.cat([frames, torch.full((7, 20), 1e6)])
    assert torch.equal(table_of(speech_tokens(table, overlap, *more, seeded()), table), expected)


def test_frames_may_come_in_many_parts(monkeypatch):
    table, overlap, units, frames = speech()
    whole = table_of(speech_tokens(table, overlap, units, frames, seeded()), table)
    monkeypatch.setitem(speech_tokens.__globals__, "CHUNK", 7)
    torch.testing.assert_close(table_of(speech_tokens(table, overlap, units, frames, seeded()), table), whole)


def test_outliers_of_the_table_do_not_count():
    table, overlap, units, frames = speech()
    expected = table_of(speech_tokens(table, overlap, units, frames, seeded()), table)[300:]
    spoiled = table.clone()
    spoiled[:3] = 1e4
    found = table_of(speech_tokens(spoiled, overlap, units, frames, seeded(), trim=0.02), spoiled)[300:]
    assert float((found.std() / expected.std()).log().abs()) < 0.1
    assert (
        float(table_of(speech_tokens(spoiled, overlap, units, frames, seeded(), trim=0.0), spoiled)[300:].std()) > 100
    )
    assert len(trimmed(spoiled, 0.02)) == 288


def test_the_alignment_loss_starts_at_nothing():
    table, overlap, units, frames = speech()
    made = table_of(speech_tokens(table, overlap, units, frames, seeded()), table)[NEW].double().requires_grad_()
    loss = alignment_loss(made, made)
    loss.backward()
    assert abs(loss.item()) < 1e-12
    assert float(made.grad.abs().max()) < 1e-12


def test_what_cannot_be_is_told():
    table, overlap, units, frames = speech()
    spoiled = frames.clone()
    spoiled[[3, 5], 1] = float("nan")
    cases = [
        (units, frames[1:], "there are 3000 units for 2999 frames"),
        (units + 10, frames, "units are ids of the 350 target tokens, or -1; these reach from 310 to 354"),
        (units - 302, frames, "these reach from -2 to 42"),
        (units.float(), frames, r"units are one whole number for each frame, not float32 of the shape \(3000,\)"),
        (units[:, None], frames, r"not int64 of the shape \(3000, 1\)"),
        (units, frames[:, 0], r"frames are a row of features for each frame, not float32 of the shape \(3000,\)"),
        (units, spoiled, "2 of the frames have features that are not finite"),
        (units.float(), spoiled, "(?s)units are one whole number.*2 of the frames"),
    ]
    for some, theirs, message in cases:
        with pytest.raises(MethodError, match=message):
            speech_tokens(table, overlap, some, theirs, seeded())
    with pytest.raises(MethodError, match="0 of them have frames"):
        speech_tokens(table, overlap, units - 300, frames, seeded())
