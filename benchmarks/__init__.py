"""Measurements and recordings that anyone can repeat."""
