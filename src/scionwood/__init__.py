"""Make the weights of new models out of the weights of models that already exist."""
