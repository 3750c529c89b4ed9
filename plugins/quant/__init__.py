"""Rewrites that lower the precision of weights and activations."""
