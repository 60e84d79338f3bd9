//! One test per class of fault that real servers, gateways, files and attacks showed, named after the rule that holds now.
//!
//! Each file has the classes of one area; the members of a class are rows of its test.

mod budget;
mod cli;
mod connections;
mod control;
mod doors;
mod files;
mod launched;
mod named;
mod parse;
mod verdict;
