# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
"""Deferred Phong shading with a bilinear texture fetch as one kernel, whose gradient Warp derives.

The equation is that of `ops.render.shading`. A pixel that sees nothing reads no vertex, and so adds to no gradient.
"""

from typing import no_type_check

import warp as wp


@wp.func
@no_type_check
def texel_coordinate(coordinate: float, side: int):
    """A place between texel centres, clamped at the border."""
    return wp.min(wp.max(coordinate, 0.0), float(side) - 1.0)


@wp.func
@no_type_check
def fetch(texture: wp.array4d(dtype=wp.float32), image: int, channel: int, x: float, y: float):
    """One channel of a texture, interpolated bilinearly."""
    left, top = int(x), int(y)
    right, bottom = wp.min(left + 1, texture.shape[3] - 1), wp.min(top + 1, texture.shape[2] - 1)
    across, down = x - float(left), y - float(top)
    upper = texture[image, channel, top, left] * (1.0 - across) + texture[image, channel, top, right] * across
    lower = texture[image, channel, bottom, left] * (1.0 - across) + texture[image, channel, bottom, right] * across
    return upper * (1.0 - down) + lower * down


@wp.func
@no_type_check
def unit(x: wp.vec3):
    """The direction of a vector."""
    return x / wp.max(wp.length(x), 1.0e-12)


@wp.kernel
@no_type_check
def shade(
    pixels: wp.array3d(dtype=wp.vec4),
    vertices: wp.array2d(dtype=wp.vec3),
    normals: wp.array2d(dtype=wp.vec3),
    texture: wp.array4d(dtype=wp.float32),
    scene: wp.array3d(dtype=wp.vec3),
    triangles: wp.array2d(dtype=wp.int32),
    uv_triangles: wp.array2d(dtype=wp.int32),
    uv: wp.array(dtype=wp.vec2),
    specular: float,
    shininess: float,
    shaded: wp.array4d(dtype=wp.float32),
):
    """Colours of the pixels that see a triangle; `scene` holds eye, light, colour and ambient once per image row."""
    image, row, column = wp.tid()
    pixel = pixels[image, row, column]
    if pixel[3] == 0.0:
        return
    t = int(pixel[3]) - 1
    u = pixel[0]
    v = pixel[1]
    w = 1.0 - u - v
    i0 = triangles[t, 0]
    i1 = triangles[t, 1]
    i2 = triangles[t, 2]
    point = u * vertices[image, i0] + v * vertices[image, i1] + w * vertices[image, i2]
    normal = unit(u * normals[image, i0] + v * normals[image, i1] + w * normals[image, i2])
    place = u * uv[uv_triangles[t, 0]] + v * uv[uv_triangles[t, 1]] + w * uv[uv_triangles[t, 2]]
    x = texel_coordinate(place[0] * float(texture.shape[3]) - 0.5, texture.shape[3])
    y = texel_coordinate((1.0 - place[1]) * float(texture.shape[2]) - 0.5, texture.shape[2])
    to_eye = unit(scene[image, row, 0] - point)
    to_light = unit(scene[image, row, 1] - point)
    colour = scene[image, row, 2]
    ambient = scene[image, row, 3]
    cosine = wp.dot(normal, to_light)
    glance = 2.0 * cosine * wp.dot(normal, to_eye) - wp.dot(to_light, to_eye)
    highlight = 0.0
    if cosine > 0.0 and glance > 0.0:
        highlight = specular * wp.pow(glance, shininess)
    lit = wp.max(cosine, 0.0)
    for channel in range(3):
        albedo = fetch(texture, image, channel, x, y)
        shaded[image, channel, row, column] = (
            albedo * (ambient[channel] + colour[channel] * lit) + colour[channel] * highlight
        )
