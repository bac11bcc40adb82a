"""The one runner behind every recipe script, which names its job::

    main("interpreter", __file__)

The YAML says everything else; ``recipes/README.md`` lists its keys.
"""

import sys
from collections.abc import Callable, Sequence

from interpretability.command_line import guarded
from interpretability.training.jobs.classifier import train_classifier
from interpretability.training.jobs.dictionary import train_dictionary
from interpretability.training.jobs.evaluate import evaluate_interpreter
from interpretability.training.jobs.interpreter import train_interpreter
from interpretability.training.recipe import Run, start
from interpretability.training.usage import answer

JOBS: dict[str, Callable[[Run], None]] = {
    "classifier": train_classifier,
    "interpreter": train_interpreter,
    "dictionary": train_dictionary,
    "evaluate": evaluate_interpreter,
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

    def run() -> None:
        text = answer(script, arguments)
        if text is None:
            JOBS[job](start(script, arguments, job))
        else:
            print(text)

    return guarded(run)
