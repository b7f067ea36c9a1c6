"""A simulation of the whole: one seed decides what happens, and in the end everything that must hold is checked.

`python -m tests.simulation --seed N` shows what happens with a seed.

Which check stands for which invariant of the design, all of them by a model that shares no code with the product:

* I1, I8, I12: `checks.check_answers`. I1 when power is lost is `disk.Disk`, which forgets what nobody synced
* I2: `checks.check_origin`, `rebuilds.check_rebuilds`, `epochs.check_epochs`
* I3, I7: `checks.check_pages`; what a rebuild withdrew comes back: `rebuilds.check_healing`
* I4: `checks.check_readers`; and in every transaction `environment._begin`
* I5: `checks.check_checkpoints` and `checks.check_folded`, after every crash; `Machine._check_refused` of a log that
  was put back
* I6: `rebuilds.check_repaired`
* I9: `environment._folding`, in every transaction of a worker
* I10, I11: `checks.check_counts`, `Machine._until`
* I13: nothing yet, for there are no targets
* I14: `rebuilds.check_rebuilds`
"""
