"""Stands in for torchvision where there is no build of it: only what a peer program needs to turn square crops."""
