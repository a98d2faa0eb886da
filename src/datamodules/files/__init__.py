"""Readers of the benchmarks' own file formats, with download, checksums and caches."""
