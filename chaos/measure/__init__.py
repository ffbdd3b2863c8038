"""What is measured while an experiment runs, and what is checked when it is over."""
