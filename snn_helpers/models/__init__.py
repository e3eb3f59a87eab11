"""The spiking networks."""
