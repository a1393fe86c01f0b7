"""Networks the fit and the preprocessing run: recognition, detection, landmarks."""
