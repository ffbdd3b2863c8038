"""The compiled engine: the reference's events, one for one, over a flat memory (see `layout`)."""
