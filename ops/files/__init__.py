"""Reading and writing of files: tensors, photos, videos, and the file systems they lie on."""
