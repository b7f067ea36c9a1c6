"""Every page again from the log: verified, folded again, recovered, and the processes that help."""
