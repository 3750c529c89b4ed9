"""Values only: the composed config of every command. Hydra needs this package to be importable."""
