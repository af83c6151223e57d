//! What a plan allows, and what is used up of it: taken in one step, given back when it was not needed.
//!
//! Not here: what is paid for a plan.
