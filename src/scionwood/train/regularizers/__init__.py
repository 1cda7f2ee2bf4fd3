"""Terms of a loss."""
