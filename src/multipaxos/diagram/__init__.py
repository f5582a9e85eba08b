"""Timing diagrams as SVG.

Private: the project's own documents and reports use it.
"""
