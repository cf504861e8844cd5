"""Programs around the node: its process, camera, bag player, answer recorder, demo, watch and say."""
