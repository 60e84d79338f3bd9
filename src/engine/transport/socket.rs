//! A connection's socket: bytes out, and bytes in with the time at which the kernel received them.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An address of the network.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A socket that never blocks.
#[derive(Debug)]
pub enum Socket {
    /// Over the network.
    Tcp(TcpStream),
    /// Within this machine.
    Unix(UnixStream),
}

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Number of bytes; 0 means that the other end has closed.
    pub len: usize,
    /// When the kernel received the last of them, as time of day since the epoch, if it says so.
    pub stamp: Option<Duration>,
}

/// How far the packets of a connection have come in another order than they were sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disorder {
    /// Packets that came before others that belong before them, so far.
    pub packets: u32,
    /// How long ago the last packet with data came, to some ms.
    pub since_last: Duration,
}

/// Room for one control message with the three times of a stamp.
pub const CONTROL: usize = 128;

impl Socket {
    /// Begins to connect to `address`; with `stamps` the kernel is asked for the times of what arrives.
    ///
    /// # Errors
    /// If no socket can be had, or the kernel knows at once that there is no way.
    pub fn connect(address: &Address, stamps: bool) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(*address)?;
                stream.set_nodelay(true)?;
                if stamps {
                    ask_for_stamps(&stream)?;
                }
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_in_line(path),
                result => result,
            }
            .map(Self::Unix),
        }
    }

    /// Returns whether the connection stands; `None` while it is not known.
    ///
    /// # Errors
    /// If it could not be made.
    pub fn connected(&self) -> Option<io::Result<()>> {
        let (error, peer) = match self {
            Self::Tcp(stream) => (stream.take_error(), stream.peer_addr().map(drop)),
            Self::Unix(stream) => (stream.take_error(), stream.peer_addr().map(drop)),
        };
        match (error, peer) {
            (Ok(None), Ok(())) => Some(Ok(())),
            (Ok(None), Err(error)) if error.kind() == io::ErrorKind::NotConnected => None,
            (Err(error) | Ok(Some(error)), _) | (Ok(None), Err(error)) => Some(Err(error)),
        }
    }

    /// Watches for all that can happen to it.
    ///
    /// # Errors
    /// If the kernel cannot watch any more sockets.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => stream.register(registry, token, interest),
            Self::Unix(stream) => stream.register(registry, token, interest),
        }
    }

    /// Writes what the kernel takes of `parts`, and returns how much that was.
    ///
    /// # Errors
    /// As for any write; `WouldBlock` if it takes nothing.
    pub fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(parts),
            Self::Unix(stream) => stream.write_vectored(parts),
        }
    }

    /// Reads what has arrived into `buffer`; `control` is scratch space of [`CONTROL`] bytes.
    ///
    /// # Errors
    /// As for any read; `WouldBlock` if nothing has arrived.
    pub fn receive(&mut self, buffer: &mut [u8], control: &mut [u8]) -> io::Result<Received> {
        match self {
            Self::Tcp(stream) => receive_stamped(stream, buffer, control),
            Self::Unix(stream) => stream.read(buffer).map(|len| Received { len, stamp: None }),
        }
    }

    /// Returns how far packets have come in another order, if the system tells.
    pub fn disorder(&self) -> Option<Disorder> {
        match self {
            Self::Tcp(stream) => disorder(stream),
            Self::Unix(_) => None,
        }
    }

    /// Returns whether something can be read: bytes, or that the other end has closed.
    pub fn has_news(&self) -> bool {
        use std::os::fd::AsRawFd as _;

        use nix::errno::Errno;
        use nix::sys::socket::{MsgFlags, recv};

        let fd = match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        };
        // The socket never blocks.
        !matches!(recv(fd, &mut [0], MsgFlags::MSG_PEEK), Err(Errno::EAGAIN | Errno::EINTR))
    }
}

/// Longest wait for a place in the queue of a Unix socket.
#[cfg(target_os = "linux")]
const IN_LINE: Duration = Duration::from_secs(5);

/// Connects to the Unix socket at `path`, whose queue is full.
///
/// Over the network such a connection is made in the background. Here the kernel gives up at once or has us wait,
/// and nothing tells when there is room.
#[cfg(target_os = "linux")]
fn wait_in_line(path: &std::path::Path) -> io::Result<UnixStream> {
    use std::os::fd::AsRawFd as _;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, sockopt};
    use nix::sys::socket::{connect, setsockopt, socket};
    use nix::sys::time::{TimeVal, TimeValLike as _};

    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let longest = TimeVal::seconds(i64::try_from(IN_LINE.as_secs()).unwrap_or(i64::MAX));
    setsockopt(&socket, sockopt::SendTimeout, &longest)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = std::os::unix::net::UnixStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(UnixStream::from_std(stream))
}

#[cfg(not(target_os = "linux"))]
fn wait_in_line(_: &std::path::Path) -> io::Result<UnixStream> {
    Err(io::ErrorKind::WouldBlock.into())
}

#[cfg(target_os = "linux")]
fn ask_for_stamps(stream: &TcpStream) -> io::Result<()> {
    use nix::sys::socket::{TimestampingFlag, setsockopt, sockopt};
    let flags = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE;
    setsockopt(stream, sockopt::Timestamping, &flags).map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
fn ask_for_stamps(_: &TcpStream) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn receive_stamped(
    stream: &TcpStream,
    buffer: &mut [u8],
    control: &mut [u8],
) -> io::Result<Received> {
    use std::os::fd::AsFd as _;

    use crate::sys;

    let (len, used) = sys::receive(stream.as_fd(), buffer, control)?;
    Ok(Received { len, stamp: stamp(&control[..used]) })
}

/// From where the kernel's account of a connection has these numbers, of 32 bits each.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
const LAST_DATA_RECEIVED_MS: usize = 52;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
const OUT_OF_ORDER: usize = 224;

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn disorder(stream: &TcpStream) -> Option<Disorder> {
    use std::os::fd::AsFd as _;

    use crate::sys;

    let mut account = [0; OUT_OF_ORDER + 4];
    let len = sys::tcp_info(stream.as_fd(), &mut account).ok()?;
    let number = |at: usize| {
        let bytes = account.get(at..len)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let since_last = Duration::from_millis(number(LAST_DATA_RECEIVED_MS)?.into());
    // Kernels before 5.4 end before it.
    Some(Disorder { packets: number(OUT_OF_ORDER)?, since_last })
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn disorder(_: &TcpStream) -> Option<Disorder> {
    None
}

/// The software stamp in the first control message of `control`, as time of day since the epoch.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn stamp(control: &[u8]) -> Option<Duration> {
    use libc::{SCM_TIMESTAMPING, SOL_SOCKET};

    // Its length, its level, its kind, and of three times, of which this is the first, seconds and ns.
    let (header, rest) = control.split_first_chunk::<16>()?;
    let half = |at: usize| Some(i32::from_ne_bytes(*header.get(at..)?.first_chunk()?));
    if (half(8)?, half(12)?) != (SOL_SOCKET, SCM_TIMESTAMPING) {
        return None;
    }
    let (seconds, rest) = rest.split_first_chunk::<8>()?;
    let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).ok()?;
    let ns = u32::try_from(i64::from_ne_bytes(*rest.first_chunk()?)).ok()?;
    (seconds > 0).then(|| Duration::new(seconds, ns))
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn receive_stamped(
    mut stream: &TcpStream,
    buffer: &mut [u8],
    _: &mut [u8],
) -> io::Result<Received> {
    stream.read(buffer).map(|len| Received { len, stamp: None })
}

/// How long the kernel may take to begin with its stamps.
const STAMPS_TIMEOUT: Duration = Duration::from_millis(300);

/// Returns whether this machine's kernel stamps what it receives over TCP; tried once, on a connection of its own.
///
/// That connection stays: the kernel goes on with its stamps while somebody wants them, and takes a moment to begin again.
pub fn kernel_stamps() -> bool {
    static STAMPED: OnceLock<Option<Socket>> = OnceLock::new();
    let tried = || -> io::Result<Option<Socket>> {
        let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        let mut client = Socket::connect(&Address::Tcp(listener.local_addr()?), true)?;
        let (mut server, _) = listener.accept()?;
        let mut poll = mio::Poll::new()?;
        client.register(poll.registry(), Token(0))?;
        let mut events = mio::Events::with_capacity(4);
        let (mut buffer, mut control) = ([0; 8], [0; CONTROL]);
        // The kernel begins to stamp a moment after it was asked, and later on a busy machine;
        // what arrives before has no stamp.
        let started = Instant::now();
        while started.elapsed() < STAMPS_TIMEOUT {
            server.write_all(b"x")?;
            poll.poll(&mut events, Some(Duration::from_millis(20)))?;
            match client.receive(&mut buffer, &mut control) {
                Ok(Received { stamp: Some(_), .. }) => return Ok(Some(client)),
                // Nothing is on its way now, so this waits.
                Ok(_) => poll.poll(&mut events, Some(Duration::from_millis(1)))?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    };
    STAMPED.get_or_init(|| tried().unwrap_or(None)).is_some()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    #[test]
    fn stamps_are_read_from_control_messages() {
        let message = |level: i32, kind: i32, seconds: i64, ns: i64| {
            let mut bytes = 64_u64.to_ne_bytes().to_vec();
            bytes.extend([level, kind].into_iter().flat_map(i32::to_ne_bytes));
            bytes.extend([seconds, ns, 0, 0, 0, 0].into_iter().flat_map(i64::to_ne_bytes));
            bytes
        };
        let (level, kind) = (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING);
        let whole = message(level, kind, 12, 34);
        assert_eq!(stamp(&whole), Some(Duration::new(12, 34)));
        for len in 0..32 {
            assert_eq!(stamp(&whole[..len]), None, "{len}");
        }
        for other in [
            message(level + 1, kind, 12, 34),
            message(level, kind + 1, 12, 34),
            message(level, kind, 0, 34),
            message(level, kind, -12, 34),
            message(level, kind, 12, -34),
        ] {
            assert_eq!(stamp(&other), None, "{other:?}");
        }
    }

    #[test]
    fn idle_sockets_tell_what_happened_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let mut socket = Socket::connect(&Address::Unix(path), true).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert!(!socket.has_news());
        server.write_all(b"x").unwrap();
        assert!(socket.has_news());
        let mut buffer = [0; 8];
        let received = socket.receive(&mut buffer, &mut [0; CONTROL]).unwrap();
        assert_eq!(received, Received { len: 1, stamp: None });
        assert!(!socket.has_news());
        drop(server);
        assert!(socket.has_news());

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let mut socket = Socket::connect(&address, false).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut poll = mio::Poll::new().unwrap();
        socket.register(poll.registry(), Token(0)).unwrap();
        assert!(!socket.has_news());
        server.write_all(b"x").unwrap();
        let mut events = mio::Events::with_capacity(4);
        while !socket.has_news() {
            poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
        }
    }
}
