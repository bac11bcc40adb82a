"""Publishing: from a run to a folder (:mod:`.export`) with its card (:mod:`.card`), checked and sent to a hub."""
