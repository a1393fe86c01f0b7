import numpy as np
import pytest
import torch

from ops.geometry.per_image import check_shape, check_triangles, float32_array, for_each_image, int32_array


@pytest.mark.parametrize("threads", [1, 3])
def test_every_image_is_visited_once_with_its_own_slice(threads: int) -> None:
    source, visits = np.arange(35.0).reshape(7, 5), np.zeros((7, 5))

    def kernel(row: np.ndarray, out: np.ndarray, factor: float) -> None:
        out += factor * row

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for_each_image(kernel, (source, visits), (2.0,))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(visits, 2 * source)


def test_an_empty_batch_calls_nothing() -> None:
    def kernel(_: np.ndarray) -> None:
        raise AssertionError

    for_each_image(kernel, (np.zeros((0, 3)),))


def test_a_kernels_error_reaches_the_caller() -> None:
    def kernel(_: np.ndarray) -> None:
        message = "from a thread"
        raise RuntimeError(message)

    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="from a thread"):
            for_each_image(kernel, (np.zeros((4, 3)),))
    finally:
        torch.set_num_threads(1)


def test_arrays_share_memory_and_are_contiguous() -> None:
    tensor = torch.zeros(2, 3)
    float32_array(tensor.requires_grad_())[0, 0] = 5
    assert tensor[0, 0] == 5
    assert float32_array(torch.zeros(3, 1).expand(3, 4)).flags.c_contiguous


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match=r"expected a float32 tensor on the cpu, got torch\.float64 on cpu"):
        float32_array(torch.zeros(2, dtype=torch.float64))
    with pytest.raises(TypeError, match="on meta"):
        float32_array(torch.zeros(2, device="meta"))
    with pytest.raises(TypeError, match=r"expected an int32 tensor on the cpu, got torch\.int64"):
        int32_array(torch.zeros(2, dtype=torch.int64))


def test_shapes_are_checked_in_words() -> None:
    check_shape("texture", torch.zeros(2, 3, 7, 5), 2, 3, None, None)
    with pytest.raises(ValueError, match=r"expected texture of shape \(2, 3, \*, \*\), got shape \(2, 1, 7, 5\)"):
        check_shape("texture", torch.zeros(2, 1, 7, 5), 2, 3, None, None)
    with pytest.raises(ValueError, match=r"got shape \(2, 3\)"):
        check_shape("texture", torch.zeros(2, 3), 2, 3, None, None)


def test_triangles_must_name_vertices() -> None:
    triangles = torch.tensor([[0, 1, 2], [1, 2, 3]], dtype=torch.int32)
    check_triangles(triangles, 4)
    check_triangles(triangles[:0], 0)
    with pytest.raises(ValueError, match="expected triangles over 3 vertices, got indices from 0 to 3"):
        check_triangles(triangles, 3)
    with pytest.raises(ValueError, match="got indices from -1 to 2"):
        check_triangles(triangles - 1, 4)
