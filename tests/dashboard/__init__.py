"""Tests of the dashboard, in a real browser before a real gateway."""
