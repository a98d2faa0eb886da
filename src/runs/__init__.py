"""How a run is put together, kept, stopped and gone on with."""
