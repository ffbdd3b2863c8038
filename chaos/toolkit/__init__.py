"""The Chaos Toolkit extension: actions, probes and the control that brings the lab up."""
