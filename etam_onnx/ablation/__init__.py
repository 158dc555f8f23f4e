"""Taking the model apart as the paper did: variants of a configuration, what they cost and how well they track."""
