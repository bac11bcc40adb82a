"""The jobs of the recipe scripts, one a module; each may use those before it: dictionary, interpreter, evaluate."""
