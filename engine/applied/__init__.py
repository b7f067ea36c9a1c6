"""The configuration that counts: the newest one in the log, which pages are folded under, whatever files say."""
