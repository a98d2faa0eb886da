"""Papers that wrap any network: frame averaging and learned canonicalization."""
