//! The loader as a program uses it: broken files and their exact reports, layers, safety, display.
//!
//! The sample root has what real ones have: named systems of two kinds, shared blocks, secrets, a
//! required key, a choice, a list, keys of another product.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod broken;
mod files;
mod layers;
mod sample;
mod shown;
