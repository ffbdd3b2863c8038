"""How each daemon of the lab is configured, started and asked how it is; one file per daemon."""
