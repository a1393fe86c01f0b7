"""Commands that learn from photos what a bundle needs to know of real people."""
