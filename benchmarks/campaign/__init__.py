"""The validation campaign: predict, register, then measure many deployments on the local lab, and score."""
