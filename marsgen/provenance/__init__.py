"""Provenance: who has seen which scene, and every rule against leaks that follows from it.

A scene is known by its content key (`scene_key`), so a copy under another name is the same scene. Two files say who has
seen what; `records.py` alone writes them; it and `marsgen/core/storage/seen.py` read what they say about it:

    split.json   in a run of `segmenter train`: the keys of its train, val and test part, and "extra": of every real
                 scene behind its extra scenes; "pictures": key -> fingerprint of those that it has learned from
    synth.json   in a set of made scenes (`marsgen synthesize`, `segmenter pseudo-label`): what made them, and
                 "trained_on": the keys of every scene that the generator, judge or teachers have learned from;
                 "pictures": key -> fingerprint of those that were at hand

manifest.jsonl, beside synth.json, names for each scene of such a set the real scenes that it grew from: its parent, or
null where that is unknown, and the donors of what was pasted into it.

A picture that was saved again has another key. Where keys are unknown, fingerprints (marsgen/cleaning/resaved.py) tell
whether pictures are copies; single ones may agree by chance, so only more than that is refused.

The rules, in `refusals.py`:

    extra scenes     none may be made from, or by something trained on, a held-out scene  (refuse_leaking_extra)
    judges           have seen the train part only                                        (refuse_leaking_judge)
    evaluation       scores no scene that the run was trained on or selected by           (refuse_seen_scene)
    score            compares with real pictures that the set's data do not hold, or
                     keep aside in their test part                                        (unseen_scenes)
    study            tests and labels scenes that no arm learns from                      (refuse_seen_test_scenes,
                     refuse_held_out_pictures); what makes an arm's extra scenes uses the arm's own split
                     (refuse_other_split)
    void_weight      needs label maps drawn by people                                     (labelled_by_people)
"""

from marsgen.core.storage.seen import read_set_head
from marsgen.provenance.records import (
    SplitKeys,
    fingerprints_of_part,
    keys_of_part,
    keys_of_pictures,
    read_split_keys,
    set_trained_on,
    write_set_head,
    write_split_keys,
)
from marsgen.provenance.refusals import (
    caution_of_held_out,
    labelled_by_people,
    refuse_held_out_pictures,
    refuse_leaking_extra,
    refuse_leaking_judge,
    refuse_other_split,
    refuse_seen_copies,
    refuse_seen_scene,
    refuse_seen_test_scenes,
    unseen_scenes,
)

__all__ = [
    "SplitKeys",
    "caution_of_held_out",
    "fingerprints_of_part",
    "keys_of_part",
    "keys_of_pictures",
    "labelled_by_people",
    "read_set_head",
    "read_split_keys",
    "refuse_held_out_pictures",
    "refuse_leaking_extra",
    "refuse_leaking_judge",
    "refuse_other_split",
    "refuse_seen_copies",
    "refuse_seen_scene",
    "refuse_seen_test_scenes",
    "set_trained_on",
    "unseen_scenes",
    "write_set_head",
    "write_split_keys",
]
