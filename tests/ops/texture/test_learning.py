"""Learning from people drawn from a known model, of whom every photo shows a part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
import torch

from ops.faceworld.shape import UV_LAYOUT, faceworld_model
from ops.texture.atlas import make_atlas
from ops.texture.colour import luma_chroma_from_rgb
from ops.texture.completion import SeenTexture, merge_photos
from ops.texture.learning import LearnedTexture, SeenPerson, TextureLearner
from ops.texture.pca import PcaTexture
from ops.texture.sketches import TextureSketch, merge_sketches
from ops.texture.unwrapping import unwrap_photo
from tests.ops.texture.conftest import PaintedPeople
from tests.support.known_faces import Shot, photograph_face

SIDE, MODES, PEOPLE = 64, 6, 40


@dataclass(frozen=True)
class Population:
    """People of a known texture model, and what is there to learn them with."""

    learner: TextureLearner
    truth: torch.Tensor
    """RGB of every person."""
    people: list[SeenPerson]
    """Each seen on one half of the face and in the middle."""


def smooth_fields(count: int, rng: torch.Generator, symmetric: bool = True) -> torch.Tensor:
    """Fields of RGB offsets with waves of a few to a face."""
    coarse = torch.randn(count, 3, 10, 10, generator=rng)
    fine = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")
    return (fine + fine.flip(-1)) / 2 if symmetric else fine


@pytest.fixture(scope="module")
def population() -> Population:
    rng = torch.Generator().manual_seed(4)
    atlas = make_atlas(faceworld_model(), SIDE)
    mean = 0.5 + 0.05 * smooth_fields(1, rng)[0]
    modes = 0.05 * smooth_fields(MODES, rng)
    truth = mean + torch.einsum("pk,kchw->pchw", torch.randn(PEOPLE, MODES, generator=rng), modes)
    prior = PcaTexture(
        mean=mean.mean((1, 2), keepdim=True).expand(-1, SIDE, SIDE).contiguous(),
        basis=0.03 * smooth_fields(MODES, rng),
        uv_layout=UV_LAYOUT,
    )
    learner = TextureLearner(atlas=atlas, importance=torch.ones(SIDE, SIDE), prior=prior, mode_count=2 * MODES)
    return Population(learner, truth, [person_of(learner, one, number) for number, one in enumerate(truth)])


def person_of(learner: TextureLearner, albedo: torch.Tensor, number: int) -> SeenPerson:
    columns = torch.linspace(0, 1, SIDE).expand(SIDE, -1)
    weight = ((columns if number % 2 else columns.flip(1)) > 0.4).float()
    fitted = luma_chroma_from_rgb(learner.prior.mean)
    return SeenPerson(SeenTexture(luma_chroma_from_rgb(albedo), weight, weight), fitted)


def learn(
    learner: TextureLearner, people: Sequence[SeenPerson], iterations: int = 3, blocks: int = 2
) -> LearnedTexture:
    model: LearnedTexture | None = None
    for _ in range(iterations):
        merged: TextureSketch | None = None
        for start in range(blocks):
            maps = [learner.complete_person(one, model).texture for one in people[start::blocks]]
            sketch = learner.sketch(torch.stack(maps))
            merged = sketch if merged is None else merge_sketches(merged, sketch, learner.metric())
        assert merged is not None
        model = learner.learned_texture(merged)
    assert model is not None
    return model


def error_of(learner: TextureLearner, model: LearnedTexture, truth: torch.Tensor) -> float:
    """Luma and chroma that are wrong where new people are not seen."""
    errors: list[torch.Tensor] = []
    for number, albedo in enumerate(truth):
        person = person_of(learner, albedo, number)
        expected = learner.explain(model, person.seen.albedo, person.seen.weight)
        errors.append((expected - person.seen.albedo).abs()[:, person.seen.luma_weight == 0].mean())
    return float(torch.stack(errors).mean())


def test_unseen_halves_of_new_people_are_told_by_what_was_learned(population: Population) -> None:
    learner = population.learner
    learned = learn(learner, population.people[:30])
    prior = learner.prior
    before = LearnedTexture(luma_chroma_from_rgb(prior.mean), luma_chroma_from_rgb(prior.basis))
    new = population.truth[30:]
    assert error_of(learner, learned, new) < 0.35 * error_of(learner, before, new)


def test_more_people_teach_more(population: Population) -> None:
    learner, new = population.learner, population.truth[30:]
    few, many = (error_of(learner, learn(learner, population.people[:count]), new) for count in (4, 30))
    assert many < 0.8 * few


def test_modes_are_exactly_even_or_odd_also_as_the_fit_gets_them(population: Population) -> None:
    learner, rng = replace(population.learner, mode_count=24), torch.Generator().manual_seed(2)
    lopsided = [
        person._replace(seen=person.seen._replace(albedo=person.seen.albedo + 0.1 * smooth_fields(1, rng, False)[0]))
        for person in population.people[:10]
    ]
    pca = learn(learner, lopsided, iterations=2).pca("test")
    assert bool((pca.mean == pca.mean.flip(-1)).all())
    even = (pca.basis == pca.basis.flip(-1)).flatten(1).all(1)
    odd = (pca.basis == -pca.basis.flip(-1)).flatten(1).all(1)
    assert bool((even ^ odd).all())
    assert bool(even.any())
    assert bool(odd.any())
    assert pca.basis.shape[0] == learner.mode_count


def test_learning_twice_gives_the_same_bits(population: Population) -> None:
    first, second = (learn(population.learner, population.people[:12], 2) for _ in range(2))
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.modes, second.modes)


def test_blocks_change_no_more_than_rounding(population: Population) -> None:
    one, five = (learn(population.learner, population.people[:20], 2, blocks) for blocks in (1, 5))
    torch.testing.assert_close(one.mean, five.mean, atol=1e-4, rtol=0)
    scatter = [
        torch.einsum("kchw,kdij->chwdij", model.modes[..., ::8, ::8], model.modes[..., ::8, ::8])
        for model in (one, five)
    ]
    torch.testing.assert_close(scatter[0], scatter[1], atol=1e-4, rtol=0)


def test_bars_across_some_faces_are_left_out(population: Population) -> None:
    learner = population.learner
    bars = {number: (slice(10 + number, 16 + number), slice(8, 56)) for number in range(0, 30, 5)}
    worn: list[SeenPerson] = []
    for number, person in enumerate(population.people[:30]):
        albedo = person.seen.albedo.clone()
        if number in bars:
            albedo[0, *bars[number]] -= 0.35
        worn.append(person._replace(seen=person.seen._replace(albedo=albedo)))
    learned = learn(learner, worn)
    trusted: list[float] = []
    for number, person in enumerate(worn):
        completed = learner.complete_person(person, learned)
        trusted.append(completed.trusted)
        if number in bars:
            wrong = completed.texture - population.people[number].seen.albedo
            assert float(wrong[0, *bars[number]].abs().mean()) < 0.25 * 0.35
    bare = [trusted[number] for number in range(30) if number not in bars]
    assert max(trusted[number] for number in bars) < min(bare)


def test_grey_photos_teach_no_colour(population: Population) -> None:
    learner = population.learner
    grey = [
        person._replace(
            seen=SeenTexture(
                person.seen.albedo * torch.tensor((1.0, 0, 0))[:, None, None],
                person.seen.luma_weight,
                torch.zeros(SIDE, SIDE),
            )
        )
        for person in population.people[:20]
    ]
    learned = learn(learner, grey, iterations=1)
    fitted = luma_chroma_from_rgb(learner.prior.mean)
    torch.testing.assert_close(learned.mean[1:], fitted[1:])
    assert float((learned.mean[0] - fitted[0]).abs().mean()) > 0.005


def test_painted_people_are_learned_from_photographs(people: PaintedPeople) -> None:
    """Unwrapped renders of seven people from two sides tell an eighth better than their plain mean does."""
    prior = PcaTexture(mean=people.albedo[:7].mean(0), basis=torch.zeros(4, 3, 128, 128), uv_layout=UV_LAYOUT)
    learner = TextureLearner(atlas=people.atlas, importance=torch.ones(128, 128), prior=prior, mode_count=8)

    def seen(person: int) -> SeenPerson:
        shots = [Shot(yaw=0.35, light_mm=(500, 300, 900)), Shot(yaw=-0.35, colour=(0.6, 0.5, 0.4))]
        photos = [photograph_face(people.shape, people.albedo[person], people.fitted(person), shot) for shot in shots]
        merged = merge_photos([unwrap_photo(people.shape, people.atlas, photo) for photo in photos])
        return SeenPerson(merged, luma_chroma_from_rgb(people.fitted(person)))

    learned = learn(learner, [seen(person) for person in range(7)], iterations=2, blocks=1)
    new = seen(7)
    shown = (new.seen.luma_weight > 0.3).expand(3, -1, -1)
    truth = luma_chroma_from_rgb(people.albedo[7])
    told = learner.explain(learned, new.seen.albedo, new.seen.weight)
    assert float((told - truth)[shown].abs().mean()) < 0.75 * float((new.fitted - truth)[shown].abs().mean())


def people_who_show(
    learner: TextureLearner, truth: torch.Tensor, part: torch.Tensor, share: Callable[[int], torch.Tensor]
) -> list[SeenPerson]:
    """People of whom a part of the texture is seen as `share` of their number says."""
    people: list[SeenPerson] = []
    for number, albedo in enumerate(truth):
        person = person_of(learner, albedo, number)
        weight = torch.where(part, share(number), person.seen.luma_weight)
        people.append(person._replace(seen=SeenTexture(person.seen.albedo, weight, weight)))
    return people


def test_eyes_are_learned_where_they_are_seen(population: Population) -> None:
    eyeballs = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    eyeballs[50:58, 8:16] = True
    eyeballs |= eyeballs.flip(-1)
    seen = eyeballs.clone()
    seen[:52] = False
    learner = replace(population.learner, atlas=replace(population.learner.atlas, eyeballs=eyeballs))
    iris = 0.25 + 0.1 * torch.rand(PEOPLE, 1, 1, 1, generator=torch.Generator().manual_seed(3))
    truth = torch.where(eyeballs, iris, population.truth)
    learned = learn(learner, people_who_show(learner, truth[:30], eyeballs, lambda number: seen.float()))
    mean = luma_chroma_from_rgb(truth[:30]).mean(0)
    painted = luma_chroma_from_rgb(learner.prior.mean)
    left, before = ((one - mean)[0, seen].abs().mean() for one in (learned.mean, painted))
    assert before > 0.1
    assert left < 0.15 * before
    told = luma_chroma_from_rgb(truth[35])
    explained = learner.explain(learned, told, seen.float().expand(3, -1, -1))
    assert (explained - told)[0, seen].abs().mean() < 0.5 * (learned.mean - told)[0, seen].abs().mean()


def test_teeth_are_learned_from_those_who_show_them(population: Population) -> None:
    spots = torch.zeros(SIDE, SIDE, dtype=torch.int64)
    spots[56:60, 20:24] = 1
    teeth = spots > 0
    atlas = population.learner.atlas
    atlas = replace(
        atlas, spots=spots, covered=atlas.covered & ~teeth, mirrored=atlas.mirrored & ~teeth & ~teeth.flip(-1)
    )
    learner = replace(population.learner, atlas=atlas)
    colour = 0.7 + 0.05 * torch.rand(PEOPLE, 1, 1, 1, generator=torch.Generator().manual_seed(4))
    truth = torch.where(teeth, colour, population.truth)
    people = people_who_show(learner, truth[:30], teeth, lambda number: torch.tensor(float(number % 3 > 0)))
    learned = learn(learner, people)
    mean = luma_chroma_from_rgb(truth[:30]).mean(0)
    painted = luma_chroma_from_rgb(learner.prior.mean)
    left, before = ((one - mean)[0, teeth].abs().mean() for one in (learned.mean, painted))
    assert before > 0.1
    assert left < 0.25 * before
    shown, hidden = (learner.complete_person(people[number], learned) for number in (1, 0))
    told = people[1].seen.albedo
    torch.testing.assert_close(shown.texture[:, teeth], told[:, teeth])
    assert float(hidden.told[:, teeth].max()) == 0


def test_a_completed_texture_says_what_photos_tell_of_it(population: Population) -> None:
    learner = population.learner
    model = learn(learner, population.people)
    completed = learner.complete_person(population.people[0], model)
    face, seen = learner.atlas.face, population.people[0].seen.luma_weight > 0
    assert completed.told.shape == (3, SIDE, SIDE)
    assert float(completed.told[:, face & ~seen].max()) == 0
    assert float(completed.told[:, face & seen].median()) > 0.95
