"""How fast this machine is, and what stands in the way.

The command line uses `doctor.examine`, `bench.measure`, and of `estimate` `plan_index`, `advice`,
`keep_run_speeds` and `about`. `speeds.RunTimer` measures the model during `index`.
"""
