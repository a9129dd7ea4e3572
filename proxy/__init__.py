"""Turnout: an OpenAI-compatible gateway. The README has the picture of how its parts stand."""
