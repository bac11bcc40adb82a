"""One training with everything that its command line needs: run, interrupted, and compared with a whole one."""

import pytest
import tiny


class Job:
    """A training: ``reference`` is the folder of an uninterrupted run, ``folder`` that of its own."""

    EPOCHS = 3

    def __init__(self, name, data, classifier_folder, reference, folder):
        self.name, self.data, self.reference, self.folder = name, data, reference, folder
        self.settings = {"number_of_epochs": self.EPOCHS}
        if name == "interpreter":
            self.settings["classifier_folder"] = classifier_folder

    def run(self, **settings):
        return tiny.run(self.name, self.data, self.folder, **{**self.settings, **settings})

    def hit(self, moment, epoch, step, number, **settings):
        line = tiny.arguments(self.name, self.data, self.folder, **{**self.settings, **settings})
        return tiny.run_and_hit(moment, epoch, step, number, self.name, line)

    def evaluate(self, **settings):
        settings = {"classifier_folder": self.settings["classifier_folder"], **settings}
        return tiny.run("evaluate", self.data, self.folder, **settings)

    def contents(self):
        """Content of all files of the run but the logs, which may grow, and the manifests, which follow the data."""
        return {
            path: path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name != "log.txt" and path.parent.name != "manifests"
        }


@pytest.fixture(params=["classifier", "interpreter"])
def job(request, tiny_esc50, tiny_classifier_folder, tiny_piq_run, tmp_path):
    """Both trainings, one after the other."""
    reference = tiny_classifier_folder.parent if request.param == "classifier" else tiny_piq_run
    return Job(request.param, tiny_esc50, tiny_classifier_folder, reference, tmp_path / "run")


@pytest.fixture
def classifier_job(tiny_esc50, tiny_classifier_folder, tmp_path):
    return Job("classifier", tiny_esc50, tiny_classifier_folder, tiny_classifier_folder.parent, tmp_path / "run")


@pytest.fixture
def piq_job(tiny_esc50, tiny_classifier_folder, tiny_piq_run, tmp_path):
    return Job("interpreter", tiny_esc50, tiny_classifier_folder, tiny_piq_run, tmp_path / "run")
