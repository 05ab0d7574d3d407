//! Value types, shared blocks, layering and diagnostics of the configuration file.
