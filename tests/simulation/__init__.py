"""A simulation of the whole product: a seed decides every event, and all invariants are checked at the end.

`python -m tests.simulation --seed N` shows the run of a seed.

The checks of the design's invariants, all by a model that shares no code with the product:

* I1, I8, I12: `checks.check_answers`. I1 when power is lost is `disk.Disk`, which forgets unsynced writes
* I2: `checks.check_origin`, `rebuilds.check_rebuilds`, `epochs.check_epochs`
* I3, I7: `checks.check_pages`; streams that a rebuild withdrew return: `rebuilds.check_healing`
* I4: `checks.check_readers`; and in every transaction `environment._begin`
* I5: `checks.check_checkpoints` and `checks.check_folded`, after every crash; `Machine._check_refused` of a log that
  was put back
* I6: `rebuilds.check_repaired`
* I9: `environment._folding`, in every transaction of a worker
* I10, I11: `checks.check_counts`, `Machine._until`
* I13: nothing yet, for there are no targets
* I14: `rebuilds.check_rebuilds`
"""
