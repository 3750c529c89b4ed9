"""Additions to a model that are neither its quantization nor its attention."""
