"""One paper, one file, by modality."""
