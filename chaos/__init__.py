"""Breaks the real thing, measures what users see, and puts it back."""
