"""How fast this machine is, and what stands in the way.

`doctor.examine` reports facts and traps. `bench.measure` yields figures of decoding and the model.
`estimate` has `plan_index`, `advice` and `about` for times before and during `index`; with its
`keep_run_speeds`, a `speeds.RunTimer` keeps the speed of a run for later estimates.
"""
