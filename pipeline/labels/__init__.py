"""Labels the pixels of a scene with the classes of a model."""
