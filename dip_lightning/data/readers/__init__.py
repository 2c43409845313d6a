"""Image files as float32 tensors, with every conversion of values stated."""

from dip_lightning.data.readers.files import list_images, safe_names
from dip_lightning.data.readers.image import read_image
from dip_lightning.data.readers.values import Window

__all__ = ["Window", "list_images", "read_image", "safe_names"]
