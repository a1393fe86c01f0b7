"""The differentiable renderer: rasteriser, lights, shading."""
