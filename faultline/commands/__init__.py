"""The command groups. Each module imports what it needs when a command runs, so that help is quick."""
