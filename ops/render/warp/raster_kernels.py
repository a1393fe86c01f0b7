# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
"""Kernels of the rasteriser and its gradient, with the contract of `ops.render.rasterize.interface`.

One thread per triangle writes the smallest (depth, triangle) of every pixel it covers by an atomic minimum of one
64-bit word, so the result does not depend on the order of threads: of equally near triangles the first is seen. Then
one thread per pixel writes (u, v, z / w, triangle + 1). Edge functions are those of `ops.render.rasterize.cpu`, in
float64.
"""

from typing import no_type_check

import warp as wp

from ops.render.warp.launch import kernel

wp.set_module_options({"enable_backward": False})
EMPTY = wp.constant(wp.uint64(0xFFFFFFFFFFFFFFFF))
BOX_MARGIN_PX = wp.constant(wp.float64(1e-6))
"""Widens bounding boxes by more than the rounding of the projection; the edge functions decide."""
f64 = wp.float64


@wp.func
@no_type_check
def edges_of(p0: wp.vec4, p1: wp.vec4, p2: wp.vec4):
    """Coefficients (rows a, b, c) of the edge functions a X + b Y + c, positive inside, and their determinant."""
    x = wp.vec3d(f64(p0[0]), f64(p1[0]), f64(p2[0]))
    y = wp.vec3d(f64(p0[1]), f64(p1[1]), f64(p2[1]))
    w = wp.vec3d(f64(p0[3]), f64(p1[3]), f64(p2[3]))
    edges = wp.mat33d()
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        edges[0, i] = y[j] * w[k] - w[j] * y[k]
        edges[1, i] = w[j] * x[k] - x[j] * w[k]
        edges[2, i] = x[j] * y[k] - y[j] * x[k]
    determinant = x[0] * edges[0, 0] + y[0] * edges[1, 0] + w[0] * edges[2, 0]
    if determinant < f64(0.0):
        return -edges, determinant
    return edges, determinant


@wp.func
@no_type_check
def edge_values(edges: wp.mat33d, x: wp.float64, y: wp.float64):
    """The three edge functions at a place."""
    return wp.vec3d(
        edges[0, 0] * x + (edges[1, 0] * y + edges[2, 0]),
        edges[0, 1] * x + (edges[1, 1] * y + edges[2, 1]),
        edges[0, 2] * x + (edges[1, 2] * y + edges[2, 2]),
    )


@wp.func
@no_type_check
def inside(edge: wp.float64, a: wp.float64, b: wp.float64):
    """Whether a pixel is on the inner side of an edge; on the edge itself one of both sides owns it."""
    zero = f64(0.0)
    return edge > zero or (edge == zero and (a > zero or (a == zero and b > zero)))


@wp.func
@no_type_check
def ordered_bits(depth: wp.float32):
    """Bits of a float that compare as the float does."""
    bits = wp.cast(depth, wp.uint32)
    sign = wp.uint32(1) << wp.uint32(31)
    if (bits & sign) != wp.uint32(0):
        return ~bits
    return bits | sign


@wp.func
@no_type_check
def first_pixel(low: wp.float64, side: int):
    """The first pixel whose centre is not below `low`, within [0, side]."""
    return int(wp.ceil(wp.min(wp.max(low - f64(0.5) - BOX_MARGIN_PX, f64(0.0)), f64(side))))


@wp.func
@no_type_check
def end_pixel(high: wp.float64, side: int):
    """One past the last pixel whose centre is not above `high`, within [0, side]."""
    return int(wp.floor(wp.min(wp.max(high + f64(0.5) + BOX_MARGIN_PX, f64(0.0)), f64(side))))


@wp.func
@no_type_check
def pixel_x(column: int, width: int):
    """Centre of a column in [-1, 1]."""
    return f64(2 * column + 1) / f64(width) - f64(1.0)


@wp.func
@no_type_check
def pixel_y(row: int, height: int):
    """Centre of a row in [-1, 1], upwards."""
    return f64(1.0) - f64(2 * row + 1) / f64(height)


@wp.func
@no_type_check
def is_before(p: wp.vec4):
    """Whether a corner lies before the near plane."""
    return p[2] < -p[3] or p[3] <= 0.0


@kernel
@no_type_check
def clear(keys: wp.array3d(dtype=wp.uint64)):
    """Every pixel sees nothing."""
    image, row, column = wp.tid()
    keys[image, row, column] = EMPTY


@kernel
@no_type_check
def draw(clip: wp.array2d(dtype=wp.vec4), triangles: wp.array2d(dtype=wp.int32), keys: wp.array3d(dtype=wp.uint64)):
    """Draw every triangle into the buffer of depths and triangles."""
    image, t = wp.tid()
    height, width = keys.shape[1], keys.shape[2]
    p0, p1, p2 = clip[image, triangles[t, 0]], clip[image, triangles[t, 1]], clip[image, triangles[t, 2]]
    one = wp.vec4(1.0, 1.0, 1.0, 1.0)
    if not wp.isfinite(wp.dot(p0, one) + wp.dot(p1, one) + wp.dot(p2, one)):
        return
    x_low, x_high, y_low, y_high = f64(0.0), f64(width), f64(0.0), f64(height)
    if not (is_before(p0) or is_before(p1) or is_before(p2)):  # else its box is the image
        half = f64(0.5)
        x0 = (half + half * f64(p0[0]) / f64(p0[3])) * f64(width)
        x1 = (half + half * f64(p1[0]) / f64(p1[3])) * f64(width)
        x2 = (half + half * f64(p2[0]) / f64(p2[3])) * f64(width)
        y0 = (half - half * f64(p0[1]) / f64(p0[3])) * f64(height)
        y1 = (half - half * f64(p1[1]) / f64(p1[3])) * f64(height)
        y2 = (half - half * f64(p2[1]) / f64(p2[3])) * f64(height)
        x_low, x_high = wp.min(x0, wp.min(x1, x2)), wp.max(x0, wp.max(x1, x2))
        y_low, y_high = wp.min(y0, wp.min(y1, y2)), wp.max(y0, wp.max(y1, y2))
    edges, determinant = edges_of(p0, p1, p2)
    if determinant == f64(0.0):
        return
    for row in range(first_pixel(y_low, height), end_pixel(y_high, height)):
        y = pixel_y(row, height)
        for column in range(first_pixel(x_low, width), end_pixel(x_high, width)):
            e = edge_values(edges, pixel_x(column, width), y)
            if (
                inside(e[0], edges[0, 0], edges[1, 0])
                and inside(e[1], edges[0, 1], edges[1, 1])
                and inside(e[2], edges[0, 2], edges[1, 2])
            ):
                z = e[0] * f64(p0[2]) + e[1] * f64(p1[2]) + e[2] * f64(p2[2])
                w = e[0] * f64(p0[3]) + e[1] * f64(p1[3]) + e[2] * f64(p2[3])
                depth = float(z / w)
                if depth >= -1.0 and depth <= 1.0:
                    key = (wp.uint64(ordered_bits(depth)) << wp.uint64(32)) | wp.uint64(t)
                    wp.atomic_min(keys, image, row, column, key)


@kernel
@no_type_check
def resolve(
    clip: wp.array2d(dtype=wp.vec4),
    triangles: wp.array2d(dtype=wp.int32),
    keys: wp.array3d(dtype=wp.uint64),
    pixels: wp.array3d(dtype=wp.vec4),
):
    """Weights, depth and number of the triangle that every pixel sees."""
    image, row, column = wp.tid()
    key = keys[image, row, column]
    if key == EMPTY:
        pixels[image, row, column] = wp.vec4()
        return
    t = int(key & wp.uint64(0xFFFFFFFF))
    p0, p1, p2 = clip[image, triangles[t, 0]], clip[image, triangles[t, 1]], clip[image, triangles[t, 2]]
    edges, _ = edges_of(p0, p1, p2)
    e = edge_values(edges, pixel_x(column, keys.shape[2]), pixel_y(row, keys.shape[1]))
    z = e[0] * f64(p0[2]) + e[1] * f64(p1[2]) + e[2] * f64(p2[2])
    w = e[0] * f64(p0[3]) + e[1] * f64(p1[3]) + e[2] * f64(p2[3])
    scale = f64(1.0) / (e[0] + e[1] + e[2])
    pixels[image, row, column] = wp.vec4(float(e[0] * scale), float(e[1] * scale), float(z / w), float(t + 1))


@kernel
@no_type_check
def resolve_backward(
    clip: wp.array2d(dtype=wp.vec4),
    triangles: wp.array2d(dtype=wp.int32),
    pixels: wp.array3d(dtype=wp.vec4),
    grad: wp.array3d(dtype=wp.vec4),
    clip_grad: wp.array2d(dtype=wp.vec4),
):
    """Add the gradient of u and v into the corners, as `ops.render.rasterize.cpu` derives it."""
    image, row, column = wp.tid()
    pixel = pixels[image, row, column]
    g_u, g_v = f64(grad[image, row, column][0]), f64(grad[image, row, column][1])
    if pixel[3] == 0.0 or (g_u == f64(0.0) and g_v == f64(0.0)):
        return
    t = int(pixel[3]) - 1
    x, y = pixel_x(column, pixels.shape[2]), pixel_y(row, pixels.shape[1])
    i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    p0, p1, p2 = clip[image, i0], clip[image, i1], clip[image, i2]
    x2, y2 = f64(p2[0]) - x * f64(p2[3]), f64(p2[1]) - y * f64(p2[3])
    m00, m10 = f64(p0[0]) - x * f64(p0[3]) - x2, f64(p0[1]) - y * f64(p0[3]) - y2
    m01, m11 = f64(p1[0]) - x * f64(p1[3]) - x2, f64(p1[1]) - y * f64(p1[3]) - y2
    determinant = m00 * m11 - m01 * m10
    if determinant == f64(0.0):
        return
    h_x = (m10 * g_v - m11 * g_u) / determinant
    h_y = (m01 * g_u - m00 * g_v) / determinant
    h = wp.vec4(float(h_x), float(h_y), 0.0, float(-(x * h_x + y * h_y)))
    wp.atomic_add(clip_grad, image, i0, pixel[0] * h)
    wp.atomic_add(clip_grad, image, i1, pixel[1] * h)
    wp.atomic_add(clip_grad, image, i2, (1.0 - pixel[0] - pixel[1]) * h)
