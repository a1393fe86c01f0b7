"""The compiled passes of `ops.render.shading_cpu` over the pixels of one image.

The equations are those of `ops.render.shading`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from ops.geometry.per_image import image_kernel, kernel_part

_Vector = tuple[float, float, float]
_Array = NDArray[np.float32]

_SHORT_MM = 1e-12
"""Guards the direction to a light or an eye that lies on the surface, as torch's normalize does."""


@kernel_part
def _dot(a: _Vector, b: _Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel_part
def _mix(a: float, x: _Vector, b: float, y: _Vector) -> _Vector:
    """The sum a x + b y."""
    return a * x[0] + b * y[0], a * x[1] + b * y[1], a * x[2] + b * y[2]


@kernel_part
def _row(array: _Array, row: int) -> _Vector:
    return np.float64(array[row, 0]), np.float64(array[row, 1]), np.float64(array[row, 2])


@kernel_part
def _add(array: _Array, row: int, scale: float, x: _Vector) -> None:
    array[row, 0] += scale * x[0]
    array[row, 1] += scale * x[1]
    array[row, 2] += scale * x[2]


@kernel_part
def _normalised(x: _Vector) -> tuple[_Vector, float]:
    """The unit vector and the inverse of the length."""
    inverse = 1.0 / max(math.sqrt(_dot(x, x)), _SHORT_MM)
    return (x[0] * inverse, x[1] * inverse, x[2] * inverse), inverse


@kernel_part
def _barycentric(array: _Array, corners: NDArray[np.int32], u: float, v: float) -> _Vector:
    return _mix(1.0, _mix(u, _row(array, corners[0]), v, _row(array, corners[1])), 1.0 - u - v, _row(array, corners[2]))


@kernel_part
def _texel(coordinate: float, side: int) -> tuple[int, int, float, bool]:
    """The two texels around a coordinate in texels, the weight of the second, and whether it was not clamped."""
    inside = 0.0 < coordinate < side - 1.0
    clamped = min(max(coordinate, 0.0), side - 1.0)
    first = int(clamped)
    return first, min(first + 1, side - 1), clamped - first, inside


@kernel_part
def _texture_coordinates(uv: _Array, corners: NDArray[np.int32], u: float, v: float) -> tuple[float, float]:
    t = 1.0 - u - v
    i0, i1, i2 = corners[0], corners[1], corners[2]
    return u * uv[i0, 0] + v * uv[i1, 0] + t * uv[i2, 0], u * uv[i0, 1] + v * uv[i1, 1] + t * uv[i2, 1]


@kernel_part
def _blend(texture: _Array, channel: int, rows: tuple[int, int, float], columns: tuple[int, int, float]) -> float:
    top, bottom, y = rows
    left, right, x = columns
    plane = texture[channel]
    upper = plane[top, left] + x * (plane[top, right] - plane[top, left])
    lower = plane[bottom, left] + x * (plane[bottom, right] - plane[bottom, left])
    return upper + y * (lower - upper)


@kernel_part
def _fetch(texture: _Array, place: tuple[float, float]) -> _Vector:
    left, right, x, _ = _texel(place[0] * texture.shape[2] - 0.5, texture.shape[2])
    top, bottom, y, _ = _texel((1.0 - place[1]) * texture.shape[1] - 0.5, texture.shape[1])
    rows, columns = (top, bottom, y), (left, right, x)
    return _blend(texture, 0, rows, columns), _blend(texture, 1, rows, columns), _blend(texture, 2, rows, columns)


@kernel_part
def _highlight(
    cosine: float, to_eye_cosine: float, light_eye: float, specular: float, shininess: float
) -> tuple[float, float]:
    """The specular factor and the cosine r.v it comes from, both zero where there is no highlight."""
    glance = 2.0 * cosine * to_eye_cosine - light_eye
    if cosine <= 0.0 or glance <= 0.0:
        return 0.0, 0.0
    return specular * glance**shininess, glance


@image_kernel
def shade_image(
    pixels: _Array,
    vertices: _Array,
    normals: _Array,
    texture: _Array,
    scene: _Array,
    shaded: _Array,
    triangles: NDArray[np.int32],
    uv_triangles: NDArray[np.int32],
    uv: _Array,
    specular: float,
    shininess: float,
) -> None:
    """Write the colours of one image; `scene` has the rows eye, light position, light colour and ambient."""
    for row in range(pixels.shape[0]):
        for column in range(pixels.shape[1]):
            if pixels[row, column, 3] == 0.0:
                continue
            u, v = np.float64(pixels[row, column, 0]), np.float64(pixels[row, column, 1])
            triangle = int(pixels[row, column, 3]) - 1
            point = _barycentric(vertices, triangles[triangle], u, v)
            normal, _ = _normalised(_barycentric(normals, triangles[triangle], u, v))
            to_eye, _ = _normalised(_mix(1.0, _row(scene, 0), -1.0, point))
            to_light, _ = _normalised(_mix(1.0, _row(scene, 1), -1.0, point))
            cosine = _dot(normal, to_light)
            highlight, _ = _highlight(cosine, _dot(normal, to_eye), _dot(to_light, to_eye), specular, shininess)
            albedo = _fetch(texture, _texture_coordinates(uv, uv_triangles[triangle], u, v))
            for channel in range(3):
                irradiance = scene[3, channel] + scene[2, channel] * max(cosine, 0.0)
                shaded[channel, row, column] = albedo[channel] * irradiance + scene[2, channel] * highlight


@kernel_part
def _texture_backward(
    grad: _Vector,
    place: tuple[float, float],
    texture: _Array,
    texture_grad: _Array,
) -> tuple[float, float]:
    """Add the gradient of a fetched colour into the texels; the gradient of the texture coordinates."""
    texture_height, texture_width = texture.shape[1], texture.shape[2]
    left, right, x, x_free = _texel(place[0] * texture_width - 0.5, texture_width)
    top, bottom, y, y_free = _texel((1.0 - place[1]) * texture_height - 0.5, texture_height)
    grad_x, grad_y = 0.0, 0.0
    for channel in range(3):
        g = grad[channel]
        plane, plane_grad = texture[channel], texture_grad[channel]
        plane_grad[top, left] += g * (1.0 - y) * (1.0 - x)
        plane_grad[top, right] += g * (1.0 - y) * x
        plane_grad[bottom, left] += g * y * (1.0 - x)
        plane_grad[bottom, right] += g * y * x
        upper, lower = plane[top, right] - plane[top, left], plane[bottom, right] - plane[bottom, left]
        left_down, right_down = plane[bottom, left] - plane[top, left], plane[bottom, right] - plane[top, right]
        grad_x += g * (upper + y * (lower - upper))
        grad_y += g * (left_down + x * (right_down - left_down))
    return grad_x * texture_width * x_free, -grad_y * texture_height * y_free


@kernel_part
def _normalised_backward(unit: _Vector, inverse: float, grad: _Vector) -> _Vector:
    return _mix(inverse, grad, -inverse * _dot(unit, grad), unit)


@kernel_part
def _difference_dot(array: _Array, first: int, second: int, x: _Vector) -> float:
    return _dot(_mix(1.0, _row(array, first), -1.0, _row(array, second)), x)


@kernel_part
def _corners_backward(
    attribute: _Array, attribute_grad: _Array, corners: NDArray[np.int32], weights: _Vector, grad: _Vector
) -> tuple[float, float]:
    """Add the gradient of an interpolated attribute into its corners; the gradient of u and v."""
    i0, i1, i2 = corners[0], corners[1], corners[2]
    _add(attribute_grad, i0, weights[0], grad)
    _add(attribute_grad, i1, weights[1], grad)
    _add(attribute_grad, i2, weights[2], grad)
    return _difference_dot(attribute, i0, i2, grad), _difference_dot(attribute, i1, i2, grad)


@kernel_part
def _colour_backward(
    grad: _Vector, albedo: _Vector, cosine: float, highlight: float, scene: _Array, scene_grad: NDArray[np.float64]
) -> tuple[float, float, _Vector]:
    """Through the sum of the three terms: into light and ambient, and the gradient of cosine, highlight and albedo."""
    lit = max(cosine, 0.0)
    colour = _row(scene, 2)
    for channel in range(3):
        scene_grad[2, channel] += grad[channel] * (albedo[channel] * lit + highlight)
        scene_grad[3, channel] += grad[channel] * albedo[channel]
    weighted = grad[0] * colour[0], grad[1] * colour[1], grad[2] * colour[2]
    grad_cosine = _dot(weighted, albedo) if cosine > 0.0 else 0.0
    grad_albedo = (
        grad[0] * scene[3, 0] + weighted[0] * lit,
        grad[1] * scene[3, 1] + weighted[1] * lit,
        grad[2] * scene[3, 2] + weighted[2] * lit,
    )
    return grad_cosine, weighted[0] + weighted[1] + weighted[2], grad_albedo


@image_kernel
def shade_image_backward(
    pixels: _Array,
    vertices: _Array,
    normals: _Array,
    texture: _Array,
    scene: _Array,
    grad: _Array,
    pixels_grad: _Array,
    vertices_grad: _Array,
    normals_grad: _Array,
    texture_grad: _Array,
    scene_grad: _Array,
    triangles: NDArray[np.int32],
    uv_triangles: NDArray[np.int32],
    uv: _Array,
    specular: float,
    shininess: float,
) -> None:
    """Write or add the gradients of `shade_image` into arrays that start at zero."""
    scene_sum = np.zeros((4, 3))
    for row in range(pixels.shape[0]):
        for column in range(pixels.shape[1]):
            pixel = pixels[row, column]
            g = np.float64(grad[0, row, column]), np.float64(grad[1, row, column]), np.float64(grad[2, row, column])
            if pixel[3] == 0.0 or (g[0] == 0.0 and g[1] == 0.0 and g[2] == 0.0):
                continue
            u, v = np.float64(pixel[0]), np.float64(pixel[1])
            weights = (u, v, 1.0 - u - v)
            corners, uv_corners = triangles[int(pixel[3]) - 1], uv_triangles[int(pixel[3]) - 1]
            point = _barycentric(vertices, corners, u, v)
            normal, normal_inverse = _normalised(_barycentric(normals, corners, u, v))
            to_eye, eye_inverse = _normalised(_mix(1.0, _row(scene, 0), -1.0, point))
            to_light, light_inverse = _normalised(_mix(1.0, _row(scene, 1), -1.0, point))
            cosine, eye_cosine, light_eye = _dot(normal, to_light), _dot(normal, to_eye), _dot(to_light, to_eye)
            highlight, glance = _highlight(cosine, eye_cosine, light_eye, specular, shininess)
            place = _texture_coordinates(uv, uv_corners, u, v)
            albedo = _fetch(texture, place)

            g_cosine, g_highlight, g_albedo = _colour_backward(g, albedo, cosine, highlight, scene, scene_sum)
            g_glance = g_highlight * shininess * highlight / glance if glance > 0.0 else 0.0
            g_cosine += 2.0 * eye_cosine * g_glance
            g_eye_cosine = 2.0 * cosine * g_glance
            g_to_light = _mix(g_cosine, normal, -g_glance, to_eye)
            g_to_eye = _mix(g_eye_cosine, normal, -g_glance, to_light)
            g_normal = _mix(g_cosine, to_light, g_eye_cosine, to_eye)
            g_to_light = _normalised_backward(to_light, light_inverse, g_to_light)
            g_to_eye = _normalised_backward(to_eye, eye_inverse, g_to_eye)
            g_normal = _normalised_backward(normal, normal_inverse, g_normal)
            for axis in range(3):
                scene_sum[0, axis] += g_to_eye[axis]
                scene_sum[1, axis] += g_to_light[axis]
            g_u, g_v = _corners_backward(
                vertices, vertices_grad, corners, weights, _mix(-1.0, g_to_light, -1.0, g_to_eye)
            )
            more_u, more_v = _corners_backward(normals, normals_grad, corners, weights, g_normal)
            g_s, g_t = _texture_backward(g_albedo, place, texture, texture_grad)
            i0, i1, i2 = uv_corners[0], uv_corners[1], uv_corners[2]
            g_u += more_u + g_s * (uv[i0, 0] - uv[i2, 0]) + g_t * (uv[i0, 1] - uv[i2, 1])
            g_v += more_v + g_s * (uv[i1, 0] - uv[i2, 0]) + g_t * (uv[i1, 1] - uv[i2, 1])
            pixels_grad[row, column, 0], pixels_grad[row, column, 1] = g_u, g_v
    for i in range(4):
        for axis in range(3):
            scene_grad[i, axis] = scene_sum[i, axis]
