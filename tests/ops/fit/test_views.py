import torch

from ops.face.alignment import resample_window
from ops.fit.views import make_views


def test_the_first_view_is_the_template_and_views_do_not_repeat() -> None:
    views = make_views(8, 224)
    ramp = torch.linspace(0, 1, 224)
    picture = (ramp + 0.3 * ramp.unsqueeze(-1)).expand(1, 1, 224, 224)
    seen = [resample_window(picture, view.vertical, view.horizontal) for view in views]
    assert seen[0][0, 0, 0, 0] < seen[0][0, 0, 0, -1]
    assert sum(float(view[0, 0, 0, 0] > view[0, 0, 0, -1]) for view in seen) == 4
    torch.testing.assert_close(seen[0], resample_window(picture, *make_views(1, 224)[0]))
    for number, view in enumerate(seen):
        assert all((view - other).abs().max() > 0.003 for other in seen[number + 1 :])
