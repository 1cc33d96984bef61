"""Models: training, saving, loading and predicting; they know nothing of stages or configuration."""
