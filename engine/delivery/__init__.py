"""What targets hold, and how it is brought up to date: documents, pace, faults, receipts. Protocols are in `kinds/`."""
