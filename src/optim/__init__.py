"""Optimisers and learning-rate schedules, which any paper can be trained with."""
