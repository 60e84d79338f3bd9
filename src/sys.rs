//! The two things on the path of each event that Rust has no safe words for, and one that is asked when data was read late.
//!
//! All `unsafe` code of the program is here; `docs/adr/0010-unsafe-code-in-one-file.md` has what each of them gains.
#![expect(unsafe_code, reason = "see above")]

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Bytes that come into the cache together.
const LINE: usize = 64;

/// Asks for the memory of `value`, so that it is near when it is needed; does not wait for it.
///
/// What `value` points to is not asked for. On other processors than those of x86-64 nothing is.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    for at in (0..size_of::<T>()).step_by(LINE) {
        prefetch_line(start.wrapping_add(at));
    }
}

/// Asks for all of `values`.
#[inline]
pub(crate) fn prefetch_all<T>(values: &[T]) {
    let start = values.as_ptr().cast::<u8>();
    for at in (0..size_of_val(values)).step_by(LINE) {
        prefetch_line(start.wrapping_add(at));
    }
}

/// Asks for the memory in which the next of `values` will lie.
#[inline]
pub(crate) fn prefetch_end<T>(values: &[T]) {
    prefetch_line(values.as_ptr_range().end.cast());
}

#[inline]
fn prefetch_line(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: nothing is read that the program could see, and no address is wrong for this instruction:
    // where there is no memory, it does nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Receives into `buffer`, and what the kernel says of it into `control`; the numbers of bytes in both.
/// Bytes of `control` after those are as they were.
///
/// The C library lets a thread be cancelled in its `recvmsg`, and in a program with threads prepares for that in each call.
///
/// # Errors
/// As for any read; `WouldBlock` if nothing has arrived on a socket that does not block.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[inline]
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    control: &mut [u8],
) -> io::Result<(usize, usize)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all fields are integers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // Other C libraries count in fewer bits.
    #[allow(clippy::useless_conversion, reason = "not on all of them")]
    let room = control.len().try_into().unwrap_or(0);
    message.msg_controllen = room;
    // SAFETY: the kernel writes to the two pieces of memory that `message` names, at most as much as their lengths say,
    // and to `message`. All three are borrowed until it returns, and bytes may have any value. It keeps none of the pointers.
    let len = unsafe { libc::syscall(libc::SYS_recvmsg, socket.as_raw_fd(), &raw mut message, 0) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    #[allow(clippy::useless_conversion, reason = "not on all of them")]
    let used: usize = message.msg_controllen.try_into().unwrap_or(0);
    Ok((len, used.min(control.len())))
}

/// Writes the kernel's account of a TCP connection into `account`, as far as there is room, and returns its length.
///
/// # Errors
/// If the socket is none of TCP.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(crate) fn tcp_info(socket: BorrowedFd<'_>, account: &mut [u8]) -> io::Result<usize> {
    let mut len = libc::socklen_t::try_from(account.len()).unwrap_or(libc::socklen_t::MAX);
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    let to = account.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `len` bytes to `account`, and their number to `len`. Both are borrowed until it
    // returns, and bytes may have any value. It keeps neither of the pointers.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, to, &raw mut len) };
    if result == 0 { Ok(len as usize) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_may_be_fetched() {
        prefetch(&());
        prefetch(&[0_u8; 1000]);
        prefetch_all::<u8>(&[]);
        prefetch_all(&[1_u64; 100]);
        prefetch_end::<u8>(&[]);
        prefetch_end(&vec![1_u8; 4096]);
        // No memory is there.
        prefetch_line(std::ptr::null());
        prefetch_line(std::ptr::without_provenance(usize::MAX));
    }

    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    #[test]
    fn bytes_come_as_they_were_sent_and_no_others_are_touched() {
        use std::io::Write as _;
        use std::os::fd::AsFd as _;
        use std::os::unix::net::UnixStream;

        let (mut there, here) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let (mut buffer, mut control) = ([7; 8], [9; 32]);
        let mut receive = |len: usize| {
            let got = receive(here.as_fd(), &mut buffer[..len], &mut control);
            (got.map_err(|error| error.kind()), buffer)
        };
        assert_eq!(receive(4), (Err(io::ErrorKind::WouldBlock), [7; 8]));
        there.write_all(b"abcdef").unwrap();
        assert_eq!(receive(4), (Ok((4, 0)), *b"abcd\x07\x07\x07\x07"));
        assert_eq!(receive(0), (Ok((0, 0)), *b"abcd\x07\x07\x07\x07"));
        assert_eq!(receive(8), (Ok((2, 0)), *b"efcd\x07\x07\x07\x07"));
        drop(there);
        assert_eq!(receive(8).0, Ok((0, 0)));
        assert_eq!(control, [9; 32]);
    }
}
