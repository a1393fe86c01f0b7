"""A model in a few lines of text, for the eye."""

from ops.face.morphable_model import MorphableModel


def summarise_model(model: MorphableModel) -> str:
    """Name, sizes, extents in millimetres and regions of a model."""
    low, high = model.mean_mm.amin(0).tolist(), model.mean_mm.amax(0).tolist()
    extents = ", ".join(f"{axis} {a:.1f} to {b:.1f}" for axis, a, b in zip("xyz", low, high, strict=True))
    spread = model.identity_basis_mm.square().sum((0, 2)).mean().sqrt().item()
    regions = ", ".join(f"{name} {int(mask.sum())}" for name, mask in model.regions.items())
    return "\n".join(
        (
            f"{model.metadata.name} ({model.metadata.licence})",
            f"vertices    {len(model.mean_mm)}",
            f"triangles   {len(model.triangles)}",
            f"identity    {model.identity_size} modes, {spread:.2f} mm root mean square a vertex",
            f"expression  {model.expression_size} modes, {model.metadata.expression_kind}",
            f"extents mm  {extents}",
            f"outer eyes  {model.outer_eye_distance_mm():.1f} mm apart",
            f"UV layout   {model.metadata.uv_layout}",
            f"regions     {regions}",
        )
    )
