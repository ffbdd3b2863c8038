"""The IRIS IAM study (UK) simulated at its own size: set-ups, loads, checks of its findings, and the page."""
