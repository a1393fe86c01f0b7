import numpy as np
import pytest
import torch

from ops.face.alignment import ARCFACE_TEMPLATE_PX
from ops.training.datasets import Pictures
from ops.training.recognition import SCALE, aligned_crop, arcface_loss, verify


def test_loss_without_margin_is_cross_entropy_of_cosines(rng: torch.Generator) -> None:
    embedding, directions = torch.randn(4, 8, generator=rng), torch.randn(6, 8, generator=rng)
    person = torch.tensor([0, 3, 5, 1])
    cosine = torch.nn.functional.cosine_similarity(embedding[:, None], directions[None], dim=-1)
    expected = torch.nn.functional.cross_entropy(SCALE * cosine, person)
    torch.testing.assert_close(arcface_loss(embedding, directions, person, 0.0), expected, rtol=1e-3, atol=1e-3)


def test_margin_is_an_angle(rng: torch.Generator) -> None:
    directions = torch.eye(2)
    angle, margin = 0.6, 0.35
    embedding = torch.tensor([[np.cos(angle), np.sin(angle)]], dtype=torch.float32)
    logits = SCALE * torch.tensor([[np.cos(angle + margin), np.sin(angle)]], dtype=torch.float32)
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([0]))
    torch.testing.assert_close(arcface_loss(embedding, directions, torch.tensor([0]), margin), expected)


def test_verification_of_separable_and_of_random_embeddings() -> None:
    person = np.repeat(np.arange(8), 3)
    perfect = verify(np.eye(8, dtype=np.float32)[person], person)
    assert (perfect.accuracy, perfect.true_accept, perfect.same_mean, perfect.different_mean) == (1.0, 1.0, 1.0, 0.0)
    noise = np.random.default_rng(0).normal(size=(24, 64)).astype(np.float32)
    guess = verify(noise / np.linalg.norm(noise, axis=1, keepdims=True), person)
    assert guess.accuracy < 0.75


def test_aligned_crop_puts_the_eyes_on_the_template() -> None:
    image = np.zeros((1, 128, 128, 3), np.uint8)
    landmarks = np.zeros((1, 1, 68, 2), np.float32)
    template = ARCFACE_TEMPLATE_PX.numpy() + 8
    for part, point in zip((slice(36, 42), slice(42, 48), 30, 48, 54), template, strict=True):
        landmarks[0, 0, part] = point
    eye = template[0].round().astype(int)
    image[0, eye[1] - 2 : eye[1] + 2, eye[0] - 2 : eye[0] + 2] = 255
    crop = aligned_crop(Pictures(image, landmarks, np.zeros((1, 1, 4), np.float32), np.zeros(1, np.int32)), 0)
    rows, columns = np.nonzero(crop[..., 0] > 128)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx(tuple(ARCFACE_TEMPLATE_PX[0].tolist()), abs=1.0)
