from functools import partial

import numpy as np
import pytest

from ops.errors import GanfitError
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.portraits.stream import PaintedLooks, PortraitSettings, PortraitStream
from ops.faceworld.shape import faceworld_canonical_map, faceworld_model
from ops.training.portrait_feed import PortraitFeed, Window

SETTINGS = PortraitSettings(side_px=48, looks=2, points=150)


def small_stream() -> PortraitStream:
    return PortraitStream(faceworld_model(), PaintedLooks(AlbedoPainter(faceworld_canonical_map(48))), SETTINGS)


def no_stream() -> PortraitStream:
    raise RuntimeError("there are no portraits today")


def test_the_window_slides_and_forgets() -> None:
    window = Window(first=10, fresh=3, kept=20)
    assert window.at(0) == range(10)
    assert window.at(3) == range(19)
    assert window.at(5) == range(5, 25)


def test_a_step_draws_the_same_portraits_whenever_the_feed_was_started() -> None:
    window = Window(first=3, fresh=4, kept=18)
    drawn = []
    for first in (0, 5):
        with PortraitFeed(small_stream, window, first, 5) as feed:
            for step in range(first, 5):
                feed.draw(step, 1, np.random.default_rng(step))
            drawn.append(feed.draw(5, 6, np.random.default_rng(5)))
    for ours, theirs in zip(*drawn, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    known = {portrait.image_rgb.tobytes() for portrait in small_stream().portraits(5, 23)}
    assert {image.tobytes() for image in drawn[0].images_rgb} <= known


def test_a_process_that_ends_is_reported() -> None:
    with PortraitFeed(partial(no_stream), Window(first=1), 0, 1) as feed, pytest.raises(GanfitError, match="ended"):
        feed.draw(0, 1, np.random.default_rng(0))
