"""The campaign: several thousand trials that try to break a promise of this project. `make campaign` runs them all."""
