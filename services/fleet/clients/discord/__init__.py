"""A stand-in for the library of this name, for the original bot. It logs in nowhere."""
