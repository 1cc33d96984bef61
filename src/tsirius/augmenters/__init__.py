"""Augmenters: from a training text to variants that say the same."""
