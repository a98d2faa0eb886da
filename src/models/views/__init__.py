"""Papers on several views of the same object."""
