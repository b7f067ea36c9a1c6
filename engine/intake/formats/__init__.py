"""What others send, in their own forms: pure codecs from bytes and headers to events, and from signatures to trust."""
