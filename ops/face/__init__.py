"""The morphable face model, its landmarks and mirror image, face crops, and the prior of camera and light."""
