"""The kinds of bad inputs, and how many of each a campaign tries."""

import bad_data
import bad_places
import bad_runs
import bad_settings
import bad_weights
from case import Maker

KINDS: dict[str, tuple[Maker, int]] = {
    "npz files": (bad_data.npz, 12),
    "folders of pictures": (bad_data.pictures, 12),
    "names": (bad_data.names, 7),
    "classes files": (bad_settings.classes, 8),
    "settings (--set)": (bad_settings.settings, 14),
    "config files": (bad_settings.config, 9),
    "options": (bad_settings.options, 10),
    "weights": (bad_weights.weights, 12),
    "files of finished runs": (bad_runs.run_files, 12),
    "files of stopped runs": (bad_runs.unfinished_runs, 8),
    "synthetic sets": (bad_runs.sets, 10),
    "records and shards edited by hand": (bad_runs.edits, 8),
    "files of generators": (bad_runs.generator_files, 5),
    "studies (yaml)": (bad_settings.studies, 5),
    "counts of studies": (bad_runs.study_counts, 7),
    "permissions, links, locks": (bad_places.permissions, 6),
}
"""kind -> how a case of it is made, and what share of all cases are of it, in parts"""
