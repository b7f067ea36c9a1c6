"""Each kind of target, against a real server where there is one."""
