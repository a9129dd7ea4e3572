"""Answers that are kept: exact ones, and ones to questions that mean the same."""
