"""Rewrites of ingot::Attention."""
