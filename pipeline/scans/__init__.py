"""Reconstructions of people of whom there are scans, measured against them."""
