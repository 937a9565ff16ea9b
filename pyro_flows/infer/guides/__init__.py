"""Guides made of flows, and the Gaussian they start from."""
