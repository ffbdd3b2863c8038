"""The simulation: what is predicted, and the mechanisms it comes from."""
