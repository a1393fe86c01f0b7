"""From RGB arrays to fitted faces: detection, choice of the face, alignment and fit as plain functions."""
