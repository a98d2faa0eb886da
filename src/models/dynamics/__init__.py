"""Papers on trajectories of particles and bodies."""
