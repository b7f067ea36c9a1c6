"""Formats of other systems: pure codecs from bytes and headers to events, and checks of signatures."""
