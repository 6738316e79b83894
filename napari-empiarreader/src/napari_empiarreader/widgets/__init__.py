"""Qt widgets: thin, no science."""
