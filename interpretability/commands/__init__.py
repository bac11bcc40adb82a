"""The commands: their options (:mod:`.main`), and one module each for what they do, which is imported only then."""
