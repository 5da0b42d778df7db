"""Measurements, as ratios against a reference in the same run: these machines are noisy, and so may yours be."""
