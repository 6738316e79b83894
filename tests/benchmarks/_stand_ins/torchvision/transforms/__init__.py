"""See :mod:`torchvision`."""
