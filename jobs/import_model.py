"""Convert a published morphable model into this project's file format and print what it holds."""

import sys
from pathlib import Path

from jsonargparse import Namespace

from jobs.cli.command import Command, CommandParser
from ops.errors import ConfigurationError
from ops.face.morphable_model import MorphableModel, save_morphable_model
from ops.importers.bfm import import_bfm2009, import_bfm2017
from ops.importers.expression_basis import ExpressionFiles
from ops.importers.flame import import_flame
from ops.importers.ict import import_ict
from ops.importers.lsfm import import_lsfm
from ops.importers.summary import summarise_model

KINDS = """
what to give as --input:
  ict      the folder of an ICT-FaceKit checkout (or its FaceXModel), or a compact .npz of it
  bfm2009  01_MorphableModel.mat; needs --landmarks; --expression optional
  bfm2017  model2017-1_face12_nomouth.h5 or model2017-1_bfm_nomouth.h5; needs --landmarks
  lsfm     all_all_all.mat or another LSFM .mat; needs --landmarks; --expression optional
  flame    generic_model.pkl (read without executing anything in it) or .npz; needs --landmarks

Models are converted to millimetres and identity modes to standard deviations. A model without texture
coordinates gets the layout cylindrical-v1. Exit status: 0 done, 1 the input cannot be used.
"""


def _convert(options: Namespace) -> None:
    _refuse_unused(options)
    model = _import(options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save_morphable_model(model, options.output)
    print(summarise_model(model))
    print(f"written to  {options.output}")


def _declare(parser: CommandParser) -> None:
    parser.add_argument("kind", choices=("ict", "bfm2009", "bfm2017", "lsfm", "flame"), help="which model it is")
    parser.add_argument("--input", type=Path, required=True, help="the published file or folder")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument(
        "--landmarks",
        type=Path,
        help="68 vertex indices in iBUG order: text or JSON counted from 0, or .mat counted from 1 (variable "
        "keypoints, kpt_ind or landmarks); JSON may also hold jaw_candidates, 17 lists of vertices",
    )
    parser.add_argument(
        "--expression",
        type=Path,
        help="expression basis for bfm2009 and lsfm: Exp_Pca.bin, or Model_Exp.mat (w_exp, sigma_exp, mu_exp)",
    )
    parser.add_argument("--expression-deviations", type=Path, help="standard deviations of Exp_Pca.bin (std_exp.txt)")
    parser.add_argument(
        "--expression-vertices",
        type=Path,
        help=".mat with trimIndex: the vertices of the model that the expression basis covers (BFM_exp_idx.mat)",
    )


def _refuse_unused(options: Namespace) -> None:
    unused: list[str] = []
    if options.kind == "ict" and options.landmarks:
        unused.append("--landmarks")
    companions = options.expression_deviations or options.expression_vertices
    if options.kind not in ("bfm2009", "lsfm") and (options.expression or companions):
        unused.append("--expression")
    if companions and not options.expression:
        unused.append("--expression-deviations and --expression-vertices without --expression")
    if unused:
        raise ConfigurationError(f"{options.kind} has no use for {', '.join(unused)}")


def _import(options: Namespace) -> MorphableModel:
    expression = None
    if options.expression:
        expression = ExpressionFiles(
            basis=options.expression, deviations=options.expression_deviations, vertices=options.expression_vertices
        )
    match options.kind:
        case "ict":
            return import_ict(options.input)
        case "bfm2009":
            return import_bfm2009(options.input, options.landmarks, expression)
        case "bfm2017":
            return import_bfm2017(options.input, options.landmarks)
        case "lsfm":
            return import_lsfm(options.input, options.landmarks, expression)
        case _:
            return import_flame(options.input, options.landmarks)


main = Command("import-model", __doc__, _declare, _convert, KINDS)

if __name__ == "__main__":
    sys.exit(main())
