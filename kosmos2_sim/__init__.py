"""A simulated tabletop: images, depth, true boxes and sentences about them."""
