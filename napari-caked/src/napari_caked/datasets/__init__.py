"""Labels, and what is cut from micrographs for learning."""
