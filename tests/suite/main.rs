//! One binary for all integration tests: it is linked against the whole stack, so one is enough.

mod cli;
mod corpus;
mod demo;
mod families;
mod golden_smollm2;
mod golden_tiny;
mod hub;
mod identities;
mod memory;
mod merged;
mod recompute;
mod selftest;
mod stored;
mod support;
