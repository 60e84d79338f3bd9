//! Behaviour seen from outside: real sockets, the whole binary, files as users write them.

#[test]
fn the_program_is_built() {
    assert!(std::path::Path::new(env!("CARGO_BIN_EXE_rbench")).exists());
}
