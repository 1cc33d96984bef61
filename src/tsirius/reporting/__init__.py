"""The page that a person reads: figures, charts and tables of a run. It knows the run's files, and no stage."""
