"""The HTTP server: a trained classifier that other programs ask, by several dialects on one engine.

``settings`` are its settings; ``served`` is a loaded model, ``deployment`` which models answer; ``engine`` takes texts
of all requests into batches; ``dialects`` are the forms in which they come; ``app`` and ``guard`` are the application
and what surrounds it, ``server`` the process.
"""
