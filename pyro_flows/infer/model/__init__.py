"""What a Pyro model is to the rest of `infer`: its log-density, its latents, how many draws run at once."""
