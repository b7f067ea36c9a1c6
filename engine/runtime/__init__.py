"""What every part runs on: clock, threads, event loop, task groups, counters and logs. Independent of products."""
