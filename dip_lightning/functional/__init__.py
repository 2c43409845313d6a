"""Pure tensor functions under methods, callbacks and physics."""
