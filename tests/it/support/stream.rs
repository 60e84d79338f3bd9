//! The server's end of a connection: over the network with or without TLS, or over a Unix socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Where connections come from.
pub(crate) enum Listener {
    Tcp(TcpListener, Option<TlsAcceptor>),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) fn tcp(listener: std::net::TcpListener, tls: Option<TlsAcceptor>) -> Self {
        listener.set_nonblocking(true).unwrap();
        Self::Tcp(TcpListener::from_std(listener).unwrap(), tls)
    }

    pub(crate) fn unix(listener: std::os::unix::net::UnixListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        Self::Unix(UnixListener::from_std(listener).unwrap())
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener, tls) => Ok(Accepted::Tcp(listener.accept().await?.0, tls.clone())),
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

/// A connection before any handshake.
pub(crate) enum Accepted {
    Tcp(TcpStream, Option<TlsAcceptor>),
    Unix(UnixStream),
}

impl Accepted {
    /// Shakes hands, if that is to be done.
    pub(crate) async fn open(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream, tls) => {
                stream.set_nodelay(true)?;
                Ok(match tls {
                    Some(tls) => Stream::Tls(Box::new(tls.accept(stream).await?)),
                    None => Stream::Tcp(stream),
                })
            }
            Self::Unix(stream) => Ok(Stream::Unix(stream)),
        }
    }
}

/// An open connection.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    /// Ends the connection without a word of TLS.
    pub(crate) async fn cut(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.get_mut().0.shutdown().await,
            _ => self.shutdown().await,
        }
    }

    /// Has the connection end with a reset.
    pub(crate) fn reset(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_zero_linger(),
            Self::Tls(stream) => stream.get_ref().0.set_zero_linger(),
            Self::Unix(_) => Ok(()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
