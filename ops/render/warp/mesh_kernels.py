# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
"""Kernels over vertices and triangles: projection and normals, and their gradients.

The equations are those of `ops.geometry.projection` and `ops.geometry.mesh_normals`.
"""

from typing import no_type_check

import warp as wp

from ops.render.warp.launch import kernel

wp.set_module_options({"enable_backward": False})


@kernel
@no_type_check
def transform(
    matrix: wp.array2d(dtype=wp.vec4), points: wp.array2d(dtype=wp.vec3), transformed: wp.array2d(dtype=wp.vec4)
):
    """Apply the four rows of a homogeneous matrix to every point, in float64."""
    image, k = wp.tid()
    point = points[image, k]
    x, y, z = wp.float64(point[0]), wp.float64(point[1]), wp.float64(point[2])
    result = wp.vec4()
    for row in range(4):
        m = matrix[image, row]
        result[row] = float(wp.float64(m[0]) * x + wp.float64(m[1]) * y + wp.float64(m[2]) * z + wp.float64(m[3]))
    transformed[image, k] = result


@kernel
@no_type_check
def transform_backward(
    matrix: wp.array2d(dtype=wp.vec4), grad: wp.array2d(dtype=wp.vec4), points_grad: wp.array2d(dtype=wp.vec3)
):
    """The gradient of the points."""
    image, k = wp.tid()
    g = grad[image, k]
    total = wp.vec3()
    for row in range(4):
        m = matrix[image, row]
        total = total + g[row] * wp.vec3(m[0], m[1], m[2])
    points_grad[image, k] = total


@kernel
@no_type_check
def sum_normals(
    vertices: wp.array2d(dtype=wp.vec3), triangles: wp.array2d(dtype=wp.int32), sums: wp.array2d(dtype=wp.vec3)
):
    """Add the cross product of every triangle to its corners."""
    image, t = wp.tid()
    i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    corner = vertices[image, i0]
    cross = wp.cross(vertices[image, i1] - corner, vertices[image, i2] - corner)
    if wp.isfinite(cross[0] + cross[1] + cross[2]):
        wp.atomic_add(sums, image, i0, cross)
        wp.atomic_add(sums, image, i1, cross)
        wp.atomic_add(sums, image, i2, cross)


@kernel
@no_type_check
def normalise(sums: wp.array2d(dtype=wp.vec3), lengths: wp.array2d(dtype=wp.float32)):
    """Replace every sum by its direction; a zero one stays."""
    image, k = wp.tid()
    total = sums[image, k]
    length = wp.length(total)
    lengths[image, k] = length
    if length > 0.0:
        sums[image, k] = total / length


@kernel
@no_type_check
def normalise_backward(
    normals: wp.array2d(dtype=wp.vec3),
    lengths: wp.array2d(dtype=wp.float32),
    grad: wp.array2d(dtype=wp.vec3),
    sums_grad: wp.array2d(dtype=wp.vec3),
):
    """Through n = s / |s| into every vertex' sum s."""
    image, k = wp.tid()
    n, g = normals[image, k], grad[image, k]
    if lengths[image, k] > 0.0:
        sums_grad[image, k] = (g - n * wp.dot(n, g)) / lengths[image, k]
    else:
        sums_grad[image, k] = wp.vec3()


@kernel
@no_type_check
def sum_normals_backward(
    vertices: wp.array2d(dtype=wp.vec3),
    triangles: wp.array2d(dtype=wp.int32),
    sums_grad: wp.array2d(dtype=wp.vec3),
    vertices_grad: wp.array2d(dtype=wp.vec3),
):
    """With g the gradient of a cross product e x f, the edges e = b - a and f = c - a receive f x g and g x e."""
    image, t = wp.tid()
    i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    g = sums_grad[image, i0] + sums_grad[image, i1] + sums_grad[image, i2]
    if g[0] == 0.0 and g[1] == 0.0 and g[2] == 0.0:
        return
    corner = vertices[image, i0]
    e, f = vertices[image, i1] - corner, vertices[image, i2] - corner
    if not wp.isfinite(e[0] + e[1] + e[2] + f[0] + f[1] + f[2]):
        return
    to_e, to_f = wp.cross(f, g), wp.cross(g, e)
    wp.atomic_add(vertices_grad, image, i0, -(to_e + to_f))
    wp.atomic_add(vertices_grad, image, i1, to_e)
    wp.atomic_add(vertices_grad, image, i2, to_f)
