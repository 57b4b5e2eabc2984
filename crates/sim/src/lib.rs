//! Many nodes in one process over a simulated network and clock.
