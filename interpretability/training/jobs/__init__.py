"""The jobs of the recipe scripts, one module each, which may use those before it: dictionary, interpreter, evaluate."""
