"""What several tests need: raw clients, served kernels, and proof that nothing was left behind."""
