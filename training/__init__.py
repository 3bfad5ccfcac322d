"""Whatever makes or changes weights: models, data, training, pruning, binarization, sweeps."""
