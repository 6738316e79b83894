"""Qt widgets: thin, no science. The helper process of training lives here too and must not import Qt."""
