"""Studies made of runs: ablation, demonstration, comparison with the truth."""
