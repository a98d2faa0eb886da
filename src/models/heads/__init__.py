"""Papers that are heads: features (samples, channels) to logits (samples, classes), for any backbone of a classifier."""
