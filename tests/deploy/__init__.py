"""What deploy/ has: the image, compose, units and manifests, checked by their own tools and run where that can be."""
