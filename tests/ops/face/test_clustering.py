import numpy as np
import pytest

from ops.face import clustering
from ops.face.clustering import cluster_faces, near_neighbours, unit_rows


def photos_of(people: int, photos: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of several photos of several people, shuffled, and whose they are; a person's have a cosine
    of 0.75."""
    rng = np.random.default_rng(seed)
    directions = unit_rows(rng.standard_normal((people, 128)).astype(np.float32))
    noise = rng.standard_normal((people * photos, 128)).astype(np.float32) * np.float32(0.58 / np.sqrt(128))
    order = rng.permutation(people * photos)
    return (np.repeat(directions, photos, 0) + noise)[order], np.repeat(np.arange(people), photos)[order]


def partition(groups: np.ndarray, names: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(names[groups == group].tolist()) for group in np.unique(groups)}


def test_the_photos_of_each_person_form_a_group() -> None:
    embeddings, people = photos_of(40, 5)
    groups = cluster_faces(embeddings, 0.5)
    names = np.arange(len(people))
    assert partition(groups, names) == partition(people, names)
    assert groups[0] == 0
    assert groups.max() == 39


def test_groups_do_not_depend_on_the_order_of_the_faces() -> None:
    embeddings, _ = photos_of(60, 4, seed=1)
    noisy = embeddings + np.random.default_rng(2).standard_normal(embeddings.shape).astype(np.float32) * 0.05
    names = np.arange(len(noisy))
    expected = partition(cluster_faces(noisy, 0.5), names)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(noisy))
        assert partition(cluster_faces(noisy[order], 0.5), order) == expected


def test_a_person_with_more_photos_than_neighbours_is_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "NEIGHBOURS", 8)
    embeddings, people = photos_of(3, 60)
    groups = cluster_faces(embeddings, 0.5)
    names = np.arange(len(people))
    assert partition(groups, names) == partition(people, names)


def test_a_look_alike_of_one_photo_does_not_chain_two_people_together() -> None:
    # Two people at right angles, and a face between them that resembles each face of both by 0.71.
    between = np.array([1, 1, 0], np.float32) / np.sqrt(2)
    faces = np.array([[1, 0, 0]] * 3 + [[0, 1, 0]] * 3 + [between], np.float32)
    groups = cluster_faces(faces, 0.6)
    assert len(set(groups[:3])) == len(set(groups[3:6])) == 1
    assert groups[0] != groups[3]


def test_the_index_finds_nearly_all_neighbours_that_a_full_comparison_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "CELL_SIZE", 16)
    unit = unit_rows(photos_of(500, 4)[0])
    near = near_neighbours(unit, 0.5)
    assert len(unit) > clustering.PROBED * 16
    first, second = np.nonzero(np.triu(unit @ unit.T, 1) >= 0.5)
    found = set(zip(near.first.tolist(), near.second.tolist(), strict=True))
    expected = set(zip(first.tolist(), second.tolist(), strict=True))
    assert found <= expected
    assert len(found) >= 0.98 * len(expected)


def test_faces_without_an_embedding_stay_alone() -> None:
    faces = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], np.float32)
    assert cluster_faces(faces, 0.5).tolist() == [0, 0, 1, 2]
    assert cluster_faces(np.zeros((0, 8), np.float32), 0.5).tolist() == []


def test_given_groups_stay_as_they_are_and_new_faces_join_them_or_form_their_own() -> None:
    embeddings, people = photos_of(12, 6, seed=5)
    # Of persons 0 to 5 half of the photos were grouped before; of person 0 in two groups, by mistake.
    given = np.full(len(people), -1)
    for person in range(6):
        known = np.flatnonzero(people == person)[:4]
        given[known] = 10 * person
        if person == 0:
            given[known[2:]] = 7
    groups = cluster_faces(embeddings, 0.5, given)
    for number in set(given[given >= 0].tolist()):
        assert len(set(groups[given == number])) == 1
    assert len(set(groups[people == 0])) == 2, "two given groups are not joined"
    for person in range(1, 12):
        assert len(set(groups[people == person])) == 1, "new photos join the person's group, or make a new one"
    assert len(set(groups)) == 13
    order = np.random.default_rng(1).permutation(len(people))
    names = np.arange(len(people))
    assert partition(cluster_faces(embeddings[order], 0.5, given[order]), order) == partition(groups, names)
