"""Photo-like portraits of a shape model's faces, without end, with the truth about every one of them."""
