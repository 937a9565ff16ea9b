"""What every training loop needs: compiling, checkpoints, reproducible random numbers, progress."""
