import torch

from ops.texture.sketches import Mirroring, leading, merge_sketches, principal_combinations, sketch_textures

SIDE = 16


def mirroring() -> Mirroring:
    """All but two opposite corners mirror each other."""
    mirrored = torch.ones(SIDE, SIDE, dtype=torch.bool)
    mirrored[-3:, :3] = mirrored[-3:, -3:] = False
    return Mirroring(mirrored=mirrored)


def textures(count: int, rng: torch.Generator) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=rng)


def test_even_and_odd_parts_are_the_texture(rng: torch.Generator) -> None:
    given, both = textures(4, rng), mirroring()
    parts = both.split(given)
    assert parts.even.shape[1] + parts.odd.shape[1] == given[0].numel()
    even, odd = both.join_even(parts.even, 3), both.join_odd(parts.odd, 3)
    torch.testing.assert_close(even + odd, given)
    inside = both.mirrored
    assert bool((even == even.flip(-1))[..., inside].all())
    assert bool((odd == -odd.flip(-1)).all())
    assert bool((odd[..., ~inside] == 0).all())


def test_the_metric_is_that_of_whole_textures(rng: torch.Generator) -> None:
    given, both = textures(3, rng), mirroring()
    weight = torch.rand(3, SIDE, SIDE, generator=rng)
    weight = (weight + weight.flip(-1)) / 2
    metric, parts = both.metric(weight), both.split(given)
    expected = (given.square() * weight).sum((1, 2, 3))
    found = (parts.even * metric.even).square().sum(1) + (parts.odd * metric.odd).square().sum(1)
    torch.testing.assert_close(found, expected)


def test_merged_sketches_are_the_sketch_of_all(rng: torch.Generator) -> None:
    given, both = textures(60, rng) + 0.3, mirroring()
    metric = both.metric(torch.ones(3, SIDE, SIDE))
    whole = sketch_textures(given, both, metric)
    parts = [sketch_textures(given[start:stop], both, metric) for start, stop in ((0, 20), (20, 50), (50, 60))]
    merged = merge_sketches(merge_sketches(parts[0], parts[1], metric), parts[2], metric)
    assert merged.textures == 60
    torch.testing.assert_close(merged.mean, whole.mean)
    torch.testing.assert_close(merged.even.mT @ merged.even, whole.even.mT @ whole.even, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(merged.odd.mT @ merged.odd, whole.odd.mT @ whole.odd, atol=2e-4, rtol=1e-4)


def test_cutting_keeps_the_leading_directions(rng: torch.Generator) -> None:
    directions = torch.linalg.qr(torch.randn(200, 3, generator=rng))[0].mT
    rows = torch.randn(40, 3, generator=rng) * torch.tensor((5.0, 3.0, 1.0)) @ directions
    rows = rows + 1e-3 * torch.randn(40, 200, generator=rng)
    kept = leading(rows, torch.ones(1, 200), 3)
    assert kept.shape == (3, 200)
    torch.testing.assert_close(kept.mT @ kept, rows.mT @ rows, atol=0.02, rtol=0)
    values, _ = principal_combinations(rows, torch.ones(1, 200))
    torch.testing.assert_close(kept.square().sum(1), values[:3].float(), rtol=1e-3, atol=0)
