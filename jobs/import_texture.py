"""Converts a TensorFlow pickle of Progressive Growing of GANs, such as TBGAN's, into this project's texture format.

    ganfit import-texture --input network-final.pkl --output tbgan.safetensors --uv-layout LAYOUT --licence TEXT

The pickle is read without executing anything in it. Of TBGAN's nine channels (texture, shape, normals) a file without
branches keeps all, of which the first three are drawn; of one with branches the texture's is kept. The UV layout is the
identifier that the shape model carries whose UV coordinates the textures were drawn on; the lower levels are calibrated
to the largest one. Name the result in a bundle as `texture: {kind: gan, path: ..., sha256: ...}`.

Exit status: 0 done, 1 the input cannot be used.
"""

import sys
from pathlib import Path

from jsonargparse import Namespace

from jobs.cli.command import Command, CommandParser


def _convert(options: Namespace) -> None:
    from ops.importers.progressive_gan import import_progressive_gan
    from ops.texture.gan_texture import calibrate_levels, save_gan_texture

    texture = import_progressive_gan(options.input, uv_layout=options.uv_layout, licence=options.licence)
    calibrate_levels(texture.generator)
    save_gan_texture(texture, options.output)
    size = texture.generator.size
    print(
        f"{options.output}: {size.resolution} px, {size.latent_size} latent values, {size.image_channels} channels, "
        f"{options.output.stat().st_size / 1e6:.1f} MB"
    )


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--input", type=Path, required=True, help="the pickle")
    add("--output", type=Path, required=True, help="the .safetensors file to write")
    add("--uv-layout", required=True, help="identifier of the UV layout, as in the shape model")
    add("--licence", required=True, help="licence under which you have the weights; kept in the file")


main = Command("import-texture", __doc__, _declare, _convert)

if __name__ == "__main__":
    sys.exit(main())
