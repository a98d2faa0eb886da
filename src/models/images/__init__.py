"""Papers on images, and the backbones that they share."""
