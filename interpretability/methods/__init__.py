"""Explanation methods: one contract (:mod:`.base`), one file each, one saved form (:mod:`.folder`)."""

from interpretability.methods.base import Interpreter
from interpretability.methods.folder import METHODS, load_interpreter, save_interpreter

__all__ = ["METHODS", "Interpreter", "load_interpreter", "save_interpreter"]
