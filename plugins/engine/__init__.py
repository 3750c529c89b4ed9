"""Engines: what runs the graph."""
