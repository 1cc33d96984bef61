"""Answers of people on a finished run: queues of what to ask, a desk that takes answers, files in and out."""
