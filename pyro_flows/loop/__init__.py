"""What training loops share: a clipped step, schedule, settings, checkpoints, seeds, compiling, progress."""
