"""Rewrites that share one model out among ranks."""
