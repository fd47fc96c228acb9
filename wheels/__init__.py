"""The wheels of wkpipe for the platforms that its native engine is built for. Not a part of what they contain."""
