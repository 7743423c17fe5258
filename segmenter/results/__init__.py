"""Results: runs or a study -> counts -> scores and gains -> verdict -> text, markdown, csv, page.

arms.py         finished runs, grouped into arms by recipe, as a study in memory
metadata.py     what study.json holds;  counts.py  the raw counts of a study: checked, written, read
statistics/     bootstrap.py  intervals;  simultaneous.py  intervals of several arms;  power.py  detectable gains;
                ratio.py  intervals of ratios of gains
verdict.py      THE rule: helps, hurts, no practical difference, cannot tell, no verdict
gains/          gains.py  scores, gains and dose curves;  subgroups.py  regions found by size and row;
                oracle.py  shares of the gain of all real rare scenes;  worth.py  a gain in labelled images
notes.py        limitations in sentences;  labels.py  names of scores, formats of numbers
summary.py      all of these together, from counts alone
tables.py       text, markdown, csv, json
domains.py      several studies as one table
page/           the page: page.py, its figures, gallery, what it shows of run folders, templates/
compare.py      `segmenter compare`;  report.py  `segmenter report` and `segmenter study-report`
"""
