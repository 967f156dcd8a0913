"""Videos and images to frames: which times, which frames, which size. The only package that knows PyAV."""
