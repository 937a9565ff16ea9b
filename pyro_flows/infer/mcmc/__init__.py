"""`flow_mcmc`: Markov chains that a guide's flow speeds up."""
