"""emotune: hyperparameter search for self-supervised Transformers on physiological signals."""
