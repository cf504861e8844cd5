"""Programs around the node: its process, a simulated camera, a bag player, an answer recorder, the demo."""
