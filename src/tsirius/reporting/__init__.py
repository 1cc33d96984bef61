"""The page that a person reads: figures, charts and tables of a run."""
