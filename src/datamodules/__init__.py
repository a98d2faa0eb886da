"""One benchmark, one file: the official reader and its miniature."""
