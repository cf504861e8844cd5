"""The Kosmos-2 model and what it says: grounded text, boxes and their scores. No ROS."""

import os

__version__ = "0.1.0"

# torch asks for huge pages for large tensors, if this is set before the first one. A generated token reads
# all weights, and with small pages looking up their addresses takes about a tenth of the time.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
