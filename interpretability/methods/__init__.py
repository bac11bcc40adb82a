"""Explanation methods: one contract (:mod:`.base`), one file each, one saved form (:mod:`.folder`)."""

from interpretability.methods.base import Interpreter
from interpretability.methods.folder import METHODS, is_interpreter_folder, load_interpreter, save_interpreter

__all__ = ["METHODS", "Interpreter", "is_interpreter_folder", "load_interpreter", "save_interpreter"]
