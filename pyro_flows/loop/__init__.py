"""What every training loop needs: compiling, checkpoints, random numbers that depend on the step, progress."""
