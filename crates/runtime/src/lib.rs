//! What awaits, spawns, opens and reads the clock.
