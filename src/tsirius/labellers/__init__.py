"""Labellers: from texts and categories to a probability for each category, without answers."""
