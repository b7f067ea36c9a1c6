"""What every part runs on: clock, threads, event loop, task groups, counters and logs. It knows nothing of products."""
