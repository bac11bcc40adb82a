"""The one runner behind every recipe script, which names its job::

    main("interpreter", __file__)

The YAML says everything else; ``recipes/README.md`` lists its keys.
"""

import pkgutil
import sys
from collections.abc import Sequence

from interpretability.command_line import guarded

#: Job -> what does it. Imported only when a command line asks for it: a recipe's script starts at once.
JOBS = {
    "classifier": "interpretability.training.jobs.classifier:train_classifier",
    "interpreter": "interpretability.training.jobs.interpreter:train_interpreter",
    "dictionary": "interpretability.training.jobs.dictionary:train_dictionary",
    "evaluate": "interpretability.training.jobs.evaluate:evaluate_interpreter",
}


def main(job: str, script: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a job from the command line.

    Parameters
    ----------
    job : {"classifier", "interpreter", "dictionary", "evaluate"}
    script : str
        The recipe's script, archived with the run.
    argv : sequence of str, optional
        Defaults to ``sys.argv[1:]``.

    Returns
    -------
    int
        Exit status: 0; 2 after an error that the user can fix, reported in one line on stderr; 130 after an
        interruption. Any other error is a bug and keeps its traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)

    def act() -> None:
        text = pkgutil.resolve_name("interpretability.training.usage:answer")(script, arguments)
        if text is None:
            run = pkgutil.resolve_name("interpretability.training.recipe:start")(script, arguments, job)
            with pkgutil.resolve_name("interpretability.training.workspace:working_in")(run, job):
                pkgutil.resolve_name(JOBS[job])(run)
        else:
            print(text)

    return guarded(act)
